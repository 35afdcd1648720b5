/**
 * Tables for reading the page map of a process in parallel: the VMAs that the workers scan, the
 * totals that they add up, and the runs that they find.
 */
import { readU64, writeU64 } from '../u64.ts';

/** Values of SCAN_VMA.KIND: what the pages of a VMA can be. */
export const SCAN_KIND = {
  ANONYMOUS: 0, // no file: anonymous pages and zero pages
  FILE: 1, //      a living file: only anonymous pages are content, pages of the file are not
  UNREACHABLE_FILE: 2, // a memory-backed or deleted file: pages of the file are content, too
  VDSO: 3, //      pages without a mapping; all of them are content, present or not
} as const;

/** The words of a VMA. */
export const SCAN_VMA = {
  START: 0, //   first page, u64
  END: 2, //     first page after it, u64
  KIND: 4, //    SCAN_KIND
  FLAGS: 5, //   VM_*
  // Totals in pages, as smaps counts them; Atomics only.
  RSS: 6,
  ANONYMOUS: 7,
  SWAP: 8,
  KSM: 9,
  ASK: 10, //    SCAN_ASK bits
  WORDS: 16,
} as const;

/** Bits of SCAN_VMA.ASK: why /proc/kpageflags has to be read for every page of a VMA. */
export const SCAN_ASK = {
  MERGED: 1, // KSM has merged some of its pages, or smaps does not say how many
  HUGE: 2, //   some of its pages lie in huge pages, or smaps does not say how many
} as const;

/** Values of SCAN_RUN.KIND: what the pages of a run are. */
export const SCAN_RUN_KIND = {
  CONTENT: 0, //   anonymous pages, or pages of the vdso
  ZERO_PAGE: 1,
  FILE_PAGES: 2, // pages in the page cache of the file
  GUARD: 3,
  MERGED: 4, //    one page that KSM has merged; PFN tells which
  HUGE: 5, //      512 anonymous pages behind one 2 MiB leaf
} as const;

/** The words of a run, as a task returns it. */
export const SCAN_RUN = {
  VMA: 0, //      ordinal of the VMA
  START: 1, //    first page, u64
  PAGES: 3,
  KIND: 4, //     SCAN_RUN_KIND
  WRITABLE: 5, // 1 if the leaves are writable
  PFN: 6, //      frame of its first page, u64; 0 if the page map does not show it
  FRAMES: 8, //   index of its first frame in ScanReport.frames, or -1
  WORDS: 9,
} as const;

const { START, END, KIND, FLAGS, ASK, WORDS } = SCAN_VMA;

/** A VMA to be scanned. */
export interface ScannedVma {
  readonly start: number; // page
  readonly end: number;
  readonly kind: number;
  readonly flags: number;
  readonly ask: number; // SCAN_ASK bits
}

/** The table of VMAs, over shared memory. */
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

  /** Adds pages to a total of a VMA. `total` is a word of SCAN_VMA. */
  addTotal(index: number, total: number, pages: number): void {
    if (pages !== 0) Atomics.add(this.#words, index * WORDS + total, pages);
  }

  total(index: number, total: number): number {
    return Atomics.load(this.#words, index * WORDS + total);
  }
}

/** The words of a unit: a stretch of the address space for one claim, and the VMAs in it. */
export const SCAN_UNIT = {
  FROM: 0, //  first page, u64
  TO: 2, //    page after the last one, u64
  FIRST: 4, // ordinal of its first VMA
  LAST: 5, //  ordinal after its last VMA
  WORDS: 6,
} as const;
