/**
 * The marks of adopted memory: one byte per page, in shared memory of the caller. The owner of the
 * memory stores a page first and its mark afterwards, so a mark that is taken too early comes once
 * more, and none is lost. It is a byte and not a bit, so that threads, also those of another
 * language, set marks by plain stores.
 */

/** The marks of one bank, and where its frames lie. */
export interface MarkedBank {
  readonly pfn: number;
  readonly pages: number;
  readonly marks: Uint8Array | undefined;
}

/** The marks of all banks of a machine, by pfn. */
export class AdoptedMarks {
  /** The first adopted frame. All frames from here on are adopted. */
  readonly first: number;
  readonly #banks: readonly MarkedBank[];
  #last: MarkedBank;

  /** `banks` in ascending order of pfns, at least one. */
  constructor(banks: readonly MarkedBank[]) {
    this.#banks = banks;
    this.#last = banks[0]!;
    this.first = this.#last.pfn;
  }

  /** Whether the frame is marked, or, with `ifUnknown`, has no marks. */
  has(pfn: number, ifUnknown: boolean): boolean {
    const { pfn: first, marks } = this.#bankOf(pfn);
    return marks === undefined ? ifUnknown : marks[pfn - first] !== 0;
  }

  /** Whether the frame is marked. The mark goes unless it `stays`. */
  take(pfn: number, stays: boolean): boolean {
    const { pfn: first, marks } = this.#bankOf(pfn);
    if (marks === undefined || marks[pfn - first] === 0) return false;
    if (!stays) Atomics.store(marks, pfn - first, 0);
    return true;
  }

  #bankOf(pfn: number): MarkedBank {
    const { pfn: first, pages } = this.#last;
    if (pfn < first || pfn >= first + pages) {
      this.#last =
        this.#banks.find((bank) => pfn >= bank.pfn && pfn < bank.pfn + bank.pages) ?? NO_BANK;
    }
    return this.#last;
  }
}

const NO_BANK: MarkedBank = { pfn: 0, pages: 0, marks: undefined };
