/**
 * The pages that a comparison of two images has to read: stretches of pages that are stored in both,
 * or in one of them while the other has zeros there. The main thread writes the tables. A worker
 * stores the result of each page of the stretches that it claims.
 */
import { PAGE_SIZE } from '../page.ts';
import { readU64, writeU64 } from '../u64.ts';

/** The words of a stretch. */
export const PAGE_PAIR = {
  LEFT: 0, //   where the left side has the pages, PAIR_SIDE
  RIGHT: 5, //  where the right side has them, PAIR_SIDE
  PAGES: 10, // at most those of a block
  FIRST: 11, // number of the result of the first page
  WORDS: 12,
} as const;

/** The words of one side of a stretch. */
export const PAIR_SIDE = {
  PLACE: 0, //  first byte of the pages, among those of the chain, u64; or ZEROS. PACKED: of the frame
  PACKED: 2, // length of the frame that holds the block; 0: it is not compressed
  WHOLE: 3, //  PACKED: bytes of the pages of the block
  SKIP: 4, //   PACKED: byte of the pages of the block at which the stretch begins
  WORDS: 5,
} as const;

const { LEFT, RIGHT, PAGES, FIRST, WORDS } = PAGE_PAIR;
const { PLACE, PACKED, WHOLE, SKIP } = PAIR_SIDE;

/** Where one side has the pages of a stretch: see PAIR_SIDE. */
export interface PairPlace {
  readonly place: number;
  readonly packed: number;
  readonly whole: number;
  readonly skip: number;
}

/** Stands for a place: the pages are zeros there, and nothing has to be read. */
export const ZEROS: number = 2 ** 53 - 1;

/** Bits of the number of bytes that differ, which may be 4096. The first one stands above them. */
const COUNT_BITS = 13;
const COUNT_MASK = 0x1fff;

/** Bytes of a table of `count` stretches. */
export function pagePairBytes(count: number): number {
  return count * WORDS * 4;
}

/** Stretches and the results of their pages, over shared memory. */
export class PagePairs {
  readonly #words: Int32Array;
  /** One word per page: 0 if it is the same. Each is written by the worker that has its stretch. */
  readonly #results: Int32Array;

  constructor(stretches: SharedArrayBuffer, results: SharedArrayBuffer) {
    this.#words = new Int32Array(stretches);
    this.#results = new Int32Array(results);
  }

  set(index: number, left: PairPlace, right: PairPlace, pages: number, first: number): void {
    const at = index * WORDS;
    this.#setSide(at + LEFT, left);
    this.#setSide(at + RIGHT, right);
    this.#words[at + PAGES] = pages;
    this.#words[at + FIRST] = first;
  }

  #setSide(at: number, { place, packed, whole, skip }: PairPlace): void {
    writeU64(this.#words, at + PLACE, place);
    this.#words[at + PACKED] = packed;
    this.#words[at + WHOLE] = whole;
    this.#words[at + SKIP] = skip;
  }

  left(index: number): PairPlace {
    return this.#side(index * WORDS + LEFT);
  }

  right(index: number): PairPlace {
    return this.#side(index * WORDS + RIGHT);
  }

  #side(at: number): PairPlace {
    const words = this.#words;
    const place = readU64(words, at + PLACE);
    return {
      place,
      packed: words[at + PACKED]!,
      whole: words[at + WHOLE]!,
      skip: words[at + SKIP]!,
    };
  }

  #isRead(at: number): number {
    return readU64(this.#words, at + PLACE) === ZEROS ? 0 : 1;
  }

  pages(index: number): number {
    return this.#words[index * WORDS + PAGES]!;
  }

  first(index: number): number {
    return this.#words[index * WORDS + FIRST]!;
  }

  /** Bytes that have to be read for a stretch, on both sides. */
  bytes(index: number): number {
    const sides = this.#isRead(index * WORDS + LEFT) + this.#isRead(index * WORDS + RIGHT);
    return this.pages(index) * PAGE_SIZE * sides;
  }

  /** Stores that `count` bytes of a page differ, at least one, the first of them at `offset`. */
  setDifferent(result: number, offset: number, count: number): void {
    this.#results[result] = (offset << COUNT_BITS) | count;
  }

  isDifferent(result: number): boolean {
    return this.#results[result] !== 0;
  }

  /** The first byte of the page that differs. Precondition: the page is different. */
  offset(result: number): number {
    return this.#results[result]! >>> COUNT_BITS;
  }

  /** How many bytes of the page differ. */
  differentBytes(result: number): number {
    return this.#results[result]! & COUNT_MASK;
  }
}
