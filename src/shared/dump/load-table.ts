/**
 * Pages to be put into an mm from outside (a restore, an import): runs that the main thread lists
 * and the workers load.
 */
import type { Digest, DigestKind } from '../digest/digest-kind.ts';
import { readU64, writeU64 } from '../u64.ts';

/** What becomes of a run. */
export const LOAD = {
  ANON: 0, //        bytes of the source in anonymous frames of its own
  ANON_ZERO: 1, //   anonymous frames of zeros: in a mapping of a file nothing else reads so
  ZERO_PAGE: 2, //   the zero page, read-only; ANON_ZERO where the machine has none
  CACHE: 3, //       bytes of the source in the file's page cache, unless they are there already
  CACHE_ZERO: 4, //  zeros in the file's page cache
  GUARD: 5, //       guard markers
  UNMAPPED: 6, //    bytes of the source in frames without a mapping (the vdso's, a device's)
  CONTENT: 7, //     what the source, a file, holds: into its page cache, without pages of zeros
  SHARE: 8, //       what another mm shows at these addresses, as after a fork
} as const;

export const LOAD_FLAG = {
  MAPPED: 1, //      CACHE: leaves show the page cache's frames
  HUGE: 2, //        ANON, SHARE: 512 pages behind one 2 MiB leaf if there is such a block
  WRITABLE: 8, //    the leaves are writable
  SPECIAL: 16, //    the leaves say that there is no normal page behind them
} as const;

const LOAD_RUN = {
  MM: 0, //     ordinal of the mm
  KIND: 1, //   LOAD
  FLAGS: 2, //  LOAD_FLAG
  PAGES: 3,
  START: 4, //  first page, u64
  SOURCE: 6, // byte of the source, u64; SHARE: ordinal of the other mm
  FILE: 8, //   file id, for CACHE
  DIGEST: 9, // DigestKind
  INDEX: 10, // page of the file, u64
  LOW: 12, //   halves of the digest of the run's bytes
  HIGH: 13,
  WORDS: 14,
} as const;

const { MM, KIND, FLAGS, PAGES, START, SOURCE, FILE, DIGEST, INDEX, LOW, HIGH, WORDS } = LOAD_RUN;

/** Its digest is that of its bytes, if it has one. */
export interface LoadRun extends Digest {
  readonly mm: number;
  readonly kind: number;
  readonly flags: number;
  readonly pages: number;
  readonly start: number; // page
  readonly source: number;
  readonly file: number;
  readonly index: number;
}

/** Collects runs; `share` gives them to the workers. */
export class LoadList {
  #words = new Int32Array(64 * WORDS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(run: LoadRun): void {
    const at = this.#count * WORDS;
    if (at === this.#words.length) {
      const larger = new Int32Array(at * 2);
      larger.set(this.#words);
      this.#words = larger;
    }
    const words = this.#words;
    words[at + MM] = run.mm;
    words[at + KIND] = run.kind;
    words[at + FLAGS] = run.flags;
    words[at + PAGES] = run.pages;
    writeU64(words, at + START, run.start);
    writeU64(words, at + SOURCE, run.source);
    words[at + FILE] = run.file;
    words[at + DIGEST] = run.digest;
    writeU64(words, at + INDEX, run.index);
    words[at + LOW] = run.low | 0;
    words[at + HIGH] = run.high | 0;
    this.#count++;
  }

  pages(run: number): number {
    return this.#words[run * WORDS + PAGES]!;
  }

  share(): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(this.#count * WORDS * 4);
    new Int32Array(buffer).set(this.#words.subarray(0, this.#count * WORDS));
    return buffer;
  }
}

export function readLoadRun(words: Int32Array, run: number): LoadRun {
  const at = run * WORDS;
  return {
    mm: words[at + MM]!,
    kind: words[at + KIND]!,
    flags: words[at + FLAGS]!,
    pages: words[at + PAGES]!,
    start: readU64(words, at + START),
    source: readU64(words, at + SOURCE),
    file: words[at + FILE]!,
    index: readU64(words, at + INDEX),
    digest: words[at + DIGEST] as DigestKind,
    low: words[at + LOW]! >>> 0,
    high: words[at + HIGH]! >>> 0,
  };
}

export function loadRunMm(words: Int32Array, run: number): number {
  return words[run * WORDS + MM]!;
}

export function loadRunKind(words: Int32Array, run: number): number {
  return words[run * WORDS + KIND]!;
}
