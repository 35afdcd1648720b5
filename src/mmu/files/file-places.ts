/**
 * Where pages of a file lie in backings (`backing/backing-table.ts`): of a memory-backed or deleted
 * file whose pages were not loaded. The list lies in the store of the machine and never changes.
 *
 *   a page of the file:   in the page cache ── else in the list ── else FILE_BACKING
 *
 * So a page that is loaded, and may be written then, hides its place in the list. If it was not
 * written, it may leave the page cache again.
 */
import { readU64, writeU64 } from '../../shared/u64.ts';

/** Words of a run of the list. The first word of the list is the number of runs. */
export const FILE_PLACE = {
  INDEX: 0, //   first page of the file, u64
  PLACE: 2, //   its place in the backing, u64
  PAGES: 4, //   neighbours in the file and in the backing
  BACKING: 5, // number of the backing
  WORDS: 6,
} as const;

const { INDEX, PLACE, PAGES, BACKING, WORDS } = FILE_PLACE;
const FIRST = 1;

/** A run of pages of a file. */
export interface PlacedRun {
  readonly index: number;
  readonly pages: number;
  readonly backing: number;
  readonly place: number;
}

/** Bytes of a list of `runs` runs. */
export function placesBytes(runs: number): number {
  return (FIRST + runs * WORDS) * 4;
}

/** Encodes a list. Precondition: the runs ascend by index and do not overlap. */
export function encodePlaces(runs: readonly PlacedRun[]): Uint8Array {
  const bytes = new Uint8Array(placesBytes(runs.length));
  const words = new Int32Array(bytes.buffer);
  words[0] = runs.length;
  runs.forEach(({ index, pages, backing, place }, run) => {
    const at = FIRST + run * WORDS;
    writeU64(words, at + INDEX, index);
    writeU64(words, at + PLACE, place);
    words[at + PAGES] = pages;
    words[at + BACKING] = backing;
  });
  return bytes;
}

/** A list, as one thread sees it. */
export class FilePlaces {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Number of runs. */
  get count(): number {
    return this.#words[0]!;
  }

  /** The run that has page `index` of the file, or -1, by bisection. */
  find(index: number): number {
    const run = this.firstAfter(index);
    return run < this.count && this.index(run) <= index ? run : -1;
  }

  /** The first run that ends behind page `index`; `count` if there is none. */
  firstAfter(index: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.index(middle) + this.pages(middle) > index) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** First page of a run. */
  index(run: number): number {
    return readU64(this.#words, FIRST + run * WORDS + INDEX);
  }

  pages(run: number): number {
    return this.#words[FIRST + run * WORDS + PAGES]!;
  }

  /** The backing of a run. */
  backing(run: number): number {
    return this.#words[FIRST + run * WORDS + BACKING]!;
  }

  /** Place in the backing of page `index`, which is in the run. */
  place(run: number, index: number): number {
    const at = FIRST + run * WORDS;
    return readU64(this.#words, at + PLACE) + (index - readU64(this.#words, at + INDEX));
  }
}
