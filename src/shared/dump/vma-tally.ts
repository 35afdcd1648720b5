/**
 * What a pass has found in each VMA, and where the record of the VMA lies in the image. With this
 * the coordinator rewrites the records whose counts were not known when they were encoded. The VMAs
 * of all mms are numbered consecutively.
 */
import { readU64, writeU64 } from '../u64.ts';
import { PAGE_CLASS } from './page-class.ts';

/** The words of a VMA. */
export const VMA_TALLY = {
  COPY: 0, //        pages of each class; Atomics only, because a VMA may span several units
  ZERO: 1,
  CLONE: 2,
  UNSUPPORTED: 3,
  GUARD: 4,
  RECORD_AT: 5, //   offset of its record in the image, u64; by the worker that writes the record
  RECORD: 7, //      index of its record_crc among those of the unit; by the same worker
  PARENT: 8, //      pages of that class, as above
  WORDS: 10,
} as const;

const { COPY, ZERO, CLONE, UNSUPPORTED, GUARD, RECORD_AT, RECORD, PARENT, WORDS } = VMA_TALLY;

/** The word that counts a class, by PAGE_CLASS. */
const BY_CLASS: readonly number[] = byClass();

function byClass(): number[] {
  const words: number[] = [];
  words[PAGE_CLASS.COPY] = COPY;
  words[PAGE_CLASS.ZERO] = ZERO;
  words[PAGE_CLASS.CLONE] = CLONE;
  words[PAGE_CLASS.UNSUPPORTED] = UNSUPPORTED;
  words[PAGE_CLASS.GUARD] = GUARD;
  words[PAGE_CLASS.PARENT] = PARENT;
  return words;
}

/** Bytes of the tallies of `vmas` VMAs. */
export function vmaTallyBytes(vmas: number): number {
  return vmas * WORDS * 4;
}

/** The tallies of all VMAs, over shared memory. */
export class VmaTallies {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /** Coordinator: resets the tallies of `vmas` VMAs from an earlier job to 0. */
  clear(vmas: number): void {
    this.#words.fill(0, 0, vmas * WORDS);
  }

  /** Worker: adds `pages` pages of a class. */
  add(vma: number, pageClass: number, pages: number): void {
    Atomics.add(this.#words, vma * WORDS + BY_CLASS[pageClass]!, pages);
  }

  pages(vma: number, pageClass: number): number {
    return Atomics.load(this.#words, vma * WORDS + BY_CLASS[pageClass]!);
  }

  /** Pages that the image stores for the VMA: page_num of its record. */
  stored(vma: number): number {
    const { COPY: copy, ZERO: zero, CLONE: clone, PARENT: parent } = PAGE_CLASS;
    const stored = this.pages(vma, copy) + this.pages(vma, zero) + this.pages(vma, clone);
    return stored + this.pages(vma, parent);
  }

  setRecord(vma: number, offset: number, record: number): void {
    writeU64(this.#words, vma * WORDS + RECORD_AT, offset);
    this.#words[vma * WORDS + RECORD] = record;
  }

  recordAt(vma: number): number {
    return readU64(this.#words, vma * WORDS + RECORD_AT);
  }

  record(vma: number): number {
    return this.#words[vma * WORDS + RECORD]!;
  }
}
