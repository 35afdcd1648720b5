/**
 * The pages that a comparison of two images has to read: stretches of pages that are stored in both,
 * or in one of them while the other has zeros there. The main thread writes the tables. A worker
 * stores the result of each page of the stretches that it claims.
 */
import { PAGE_SIZE } from '../page.ts';
import { readU64, writeU64 } from '../u64.ts';

/** The words of a stretch. */
export const PAGE_PAIR = {
  LEFT: 0, //  first byte on the left side, among those of its chain, u64; or ZEROS
  RIGHT: 2, // the same on the right side, u64
  PAGES: 4, // at most those of a block
  FIRST: 5, // number of the result of the first page
  WORDS: 6,
} as const;

const { LEFT, RIGHT, PAGES, FIRST, WORDS } = PAGE_PAIR;

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

  set(index: number, left: number, right: number, pages: number, first: number): void {
    const at = index * WORDS;
    writeU64(this.#words, at + LEFT, left);
    writeU64(this.#words, at + RIGHT, right);
    this.#words[at + PAGES] = pages;
    this.#words[at + FIRST] = first;
  }

  left(index: number): number {
    return readU64(this.#words, index * WORDS + LEFT);
  }

  right(index: number): number {
    return readU64(this.#words, index * WORDS + RIGHT);
  }

  pages(index: number): number {
    return this.#words[index * WORDS + PAGES]!;
  }

  first(index: number): number {
    return this.#words[index * WORDS + FIRST]!;
  }

  /** Bytes that have to be read for a stretch, on both sides. */
  bytes(index: number): number {
    const sides = (this.left(index) === ZEROS ? 0 : 1) + (this.right(index) === ZEROS ? 0 : 1);
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
