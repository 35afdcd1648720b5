/**
 * What is known of changes of adopted memory. Its owner may bring marks: one byte per page, in
 * shared memory of the caller. The owner stores a page first and its mark afterwards, so a mark that
 * is taken too early comes once more, and none is lost. It is a byte and not a bit, so that threads,
 * also those of another language, set marks by plain stores.
 *
 * Several look at the changes of a frame: dirty pages, images with a parent, and every snapshot. So
 * whoever finds a mark or a soft-dirty leaf clears both, and notes the *step* at which it did, in
 * NEXT of the frame's page struct. Steps are numbers that grow, one for each time that somebody
 * begins to look. Who has begun at step n finds later what has a step above n.
 *
 * This holds as long as one leaf shows the frame: only the mm of that leaf stores and looks, with
 * its mmap lock for writing. Once two leaves show a frame, it is SHARED: then nobody trusts its
 * marks, and nobody clears them, until a single leaf is left. A frame that is mapped counts as
 * changed.
 */
import type { PageStructs } from './page-struct.ts';

/** The marks of one bank, and where its frames lie. */
export interface MarkedBank {
  readonly pfn: number;
  readonly pages: number;
  readonly marks: Uint8Array | undefined;
}

/** In the place of a step: several leaves show the frame, or did when somebody looked last. */
export const SHARED_STEP = 0xffff_ffff;
/** After so many steps they do not grow any more, and everything counts as changed. */
export const LAST_STEP = 0xffff_fff0;

/** What is remembered as the step at which somebody has looked: 0, so before all, after the last. */
export function seenAt(step: number): number {
  return step >= LAST_STEP ? 0 : step;
}

/** The marks and the steps of all banks of a machine, by pfn. */
export class AdoptedMarks {
  /** The first adopted frame. All frames from here on are adopted. */
  readonly first: number;
  readonly #banks: readonly MarkedBank[];
  readonly #pages: PageStructs;
  #last: MarkedBank;

  /** `banks` in ascending order of pfns, at least one. */
  constructor(banks: readonly MarkedBank[], pages: PageStructs) {
    this.#banks = banks;
    this.#pages = pages;
    this.#last = banks[0]!;
    this.first = this.#last.pfn;
  }

  /**
   * Whether the frame may have changed since step `since`. Nothing is cleared. Whether its leaf is
   * soft-dirty is up to the caller. With `ifUnknown`, a frame of which nobody knows counts.
   */
  hasChanged(pfn: number, since: number, ifUnknown: boolean): boolean {
    if (ifUnknown && !this.isKnown(pfn)) return true;
    const step = this.#step(pfn);
    return this.#isMarked(pfn) || (step !== SHARED_STEP && step > since);
  }

  /** Whether marks and steps tell all changes of the frame. */
  isKnown(pfn: number): boolean {
    return this.#bankOf(pfn).marks !== undefined && this.#step(pfn) !== SHARED_STEP;
  }

  /**
   * Whether the frame has changed since step `since`, for its mm that looks at `step`. Its mark is
   * cleared, and the caller clears the soft-dirty bit of the leaf, which `isSoft` says. The mmap
   * lock of the mm is held for writing.
   */
  settle(pfn: number, isSoft: boolean, since: number, step: number): boolean {
    const bank = this.#bankOf(pfn);
    if (bank === NO_BANK) return isSoft; // the entry was damaged on purpose
    const noted = this.#step(pfn);
    if (noted === SHARED_STEP && !this.#endSharing(pfn, step)) return isSoft || this.#isMarked(pfn);
    const isMarked = this.#isMarked(pfn);
    if (isMarked) Atomics.store(bank.marks!, pfn - bank.pfn, 0);
    if (!isMarked && !isSoft && noted !== SHARED_STEP) return noted > since;
    this.#note(pfn, step);
    return true;
  }

  /** Notes that the frame has changed at `step`, for an mm that is the only one to show it. */
  noteChange(pfn: number, step: number): void {
    if (this.#step(pfn) !== SHARED_STEP) this.#note(pfn, step);
  }

  /** Notes that one more leaf shows the frame, which is counted already. */
  noteMapping(pfn: number, step: number): void {
    const isShared = this.#pages.mapCount(pfn) > 1;
    this.#pages.storeNext(pfn, isShared ? SHARED_STEP : step);
  }

  /** Puts `step` in the place of SHARED_STEP if a single leaf is left. */
  #endSharing(pfn: number, step: number): boolean {
    return this.#pages.mapCount(pfn) <= 1 && this.#note(pfn, step);
  }

  /**
   * Notes the step. Another mm may map the frame at this moment, and note that it is shared. It
   * counts its leaf first, so one of the two sees the other. Returns false if the frame is shared.
   */
  #note(pfn: number, step: number): boolean {
    this.#pages.storeNext(pfn, step);
    if (this.#pages.mapCount(pfn) <= 1) return true;
    this.#pages.storeNext(pfn, SHARED_STEP);
    return false;
  }

  #step(pfn: number): number {
    return this.#pages.next(pfn) >>> 0;
  }

  #isMarked(pfn: number): boolean {
    const { pfn: first, marks } = this.#bankOf(pfn);
    return marks !== undefined && marks[pfn - first] !== 0;
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
