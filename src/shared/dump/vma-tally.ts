/**
 * What a pass has found in each mapping, and where the mapping's record stands in the image: the
 * coordinator rewrites the records whose counts were not known when they were encoded. The mappings
 * of all mms are numbered through.
 */
import { readU64, writeU64 } from '../u64.ts';
import { PAGE_CLASS } from './page-class.ts';

export const VMA_TALLY = {
  COPY: 0, //        pages of each class; Atomics only, a mapping may span several units
  ZERO: 1,
  CLONE: 2,
  UNSUPPORTED: 3,
  GUARD: 4,
  RECORD_AT: 5, //   offset of the VMA record in the image, u64; by the worker that writes the record
  RECORD: 7, //      number of the record among those of its unit; by the same worker
  WORDS: 8,
} as const;

const { COPY, ZERO, CLONE, UNSUPPORTED, GUARD, RECORD_AT, RECORD, WORDS } = VMA_TALLY;

/** Word of a class, by PAGE_CLASS. */
const BY_CLASS: readonly number[] = byClass();

function byClass(): number[] {
  const words: number[] = [];
  words[PAGE_CLASS.COPY] = COPY;
  words[PAGE_CLASS.ZERO] = ZERO;
  words[PAGE_CLASS.CLONE] = CLONE;
  words[PAGE_CLASS.UNSUPPORTED] = UNSUPPORTED;
  words[PAGE_CLASS.GUARD] = GUARD;
  return words;
}

export function vmaTallyBytes(vmas: number): number {
  return vmas * WORDS * 4;
}

export class VmaTallies {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /** Coordinator: forgets an earlier job. */
  clear(vmas: number): void {
    this.#words.fill(0, 0, vmas * WORDS);
  }

  /** Worker: so many more pages of a class. */
  add(vma: number, pageClass: number, pages: number): void {
    Atomics.add(this.#words, vma * WORDS + BY_CLASS[pageClass]!, pages);
  }

  pages(vma: number, pageClass: number): number {
    return Atomics.load(this.#words, vma * WORDS + BY_CLASS[pageClass]!);
  }

  /** Pages that the image stores for the mapping: page_num of its record. */
  stored(vma: number): number {
    const { COPY: copy, ZERO: zero, CLONE: clone } = PAGE_CLASS;
    return this.pages(vma, copy) + this.pages(vma, zero) + this.pages(vma, clone);
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
