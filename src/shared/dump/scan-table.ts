/**
 * Reading the page map of a process in parallel: its mappings as the workers get them, the totals
 * that they add up, and the runs that they find.
 */
import { readU64, writeU64 } from '../u64.ts';

/** What a mapping's pages can be. */
export const SCAN_KIND = {
  ANONYMOUS: 0, // no file: anonymous pages and zero pages
  FILE: 1, //      a living file: pages of the file are not content, anonymous ones are
  LOST_FILE: 2, // a memory-backed or deleted file: pages of the file are content, too
  VDSO: 3, //      pages without a mapping; all are content, mapped or not
} as const;

export const SCAN_VMA = {
  START: 0, //   first page, u64
  END: 2, //     first page after it, u64
  KIND: 4, //    SCAN_KIND
  FLAGS: 5, //   VM_*
  // Totals in pages, as smaps counts them; Atomics only
  RSS: 6,
  ANONYMOUS: 7,
  SWAP: 8,
  KSM: 9,
  ASK: 10, //    SCAN_ASK bits
  WORDS: 16,
} as const;

/** What /proc/kpageflags has to be asked of every page of a mapping. */
export const SCAN_ASK = {
  MERGED: 1, // some are KSM's, or nobody knows
  HUGE: 2, //   some lie in huge pages
} as const;

/** What a run of pages is. */
export const SCAN_RUN_KIND = {
  CONTENT: 0, //   anonymous pages, or the vdso's
  ZERO_PAGE: 1,
  FILE_PAGES: 2, // pages of the file's page cache
  GUARD: 3,
  MERGED: 4, //    one KSM page; PFN says which
  HUGE: 5, //      512 anonymous pages behind one 2 MiB leaf
} as const;

/** Runs as a task returns them. */
export const SCAN_RUN = {
  VMA: 0, //      ordinal
  START: 1, //    first page, u64
  PAGES: 3,
  KIND: 4, //     SCAN_RUN_KIND
  WRITABLE: 5, // 1 if the leaves are writable
  PFN: 6, //      of its first page, u64; 0 where it is not shown
  FRAMES: 8, //   place of its pages in FRAMES of the same report, or -1
  WORDS: 9,
} as const;

const { START, END, KIND, FLAGS, ASK, WORDS } = SCAN_VMA;

export interface ScannedVma {
  readonly start: number; // page
  readonly end: number;
  readonly kind: number;
  readonly flags: number;
  readonly ask: number; // SCAN_ASK bits
}

export class ScanVmas {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  static create(vmas: readonly ScannedVma[]): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(vmas.length * WORDS * 4);
    const words = new Int32Array(buffer);
    vmas.forEach(({ start, end, kind, flags, ask }, index) => {
      const at = index * WORDS;
      writeU64(words, at + START, start);
      writeU64(words, at + END, end);
      words[at + KIND] = kind;
      words[at + FLAGS] = flags | 0;
      words[at + ASK] = ask;
    });
    return buffer;
  }

  get count(): number {
    return this.#words.length / WORDS;
  }

  get(index: number): ScannedVma {
    const at = index * WORDS;
    return {
      start: readU64(this.#words, at + START),
      end: readU64(this.#words, at + END),
      kind: this.#words[at + KIND]!,
      flags: this.#words[at + FLAGS]! >>> 0,
      ask: this.#words[at + ASK]!,
    };
  }

  addTotal(index: number, total: number, pages: number): void {
    if (pages !== 0) Atomics.add(this.#words, index * WORDS + total, pages);
  }

  total(index: number, total: number): number {
    return Atomics.load(this.#words, index * WORDS + total);
  }
}

/** A stretch of the address space for one claim: pages [from, to), and the mappings in it. */
export const SCAN_UNIT = {
  FROM: 0, //  first page, u64
  TO: 2, //    u64
  FIRST: 4, // ordinal of its first mapping
  LAST: 5, //  and one after its last
  WORDS: 6,
} as const;
