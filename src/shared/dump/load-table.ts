/**
 * The pages that a restore or an import puts into an mm, as a list of runs. The main thread writes
 * the list, and the workers load the runs.
 */
import type { Digest, DigestKind } from '../digest/digest-kind.ts';
import { readU64, writeU64 } from '../u64.ts';

/** Values of KIND: what is done for a run. Bytes come from the source of the load phase. */
export const LOAD = {
  ANON: 0, //        bytes of the source, into new anonymous frames
  ANON_ZERO: 1, //   zeros, into new anonymous frames (of a private mapping of a file)
  ZERO_PAGE: 2, //   the zero page, read-only; the same as ANON_ZERO in a machine without zero pages
  CACHE: 3, //       bytes of the source, into the file's page cache, unless the page is there
  CACHE_ZERO: 4, //  zeros, into the file's page cache, unless the page is there
  GUARD: 5, //       guard markers
  UNMAPPED: 6, //    bytes of the source, into frames without a mapping (of the vdso, of a PFN map)
  CONTENT: 7, //     the source is the file: its bytes, into its page cache, except pages of zeros
  SHARE: 8, //       what another mm shows at the same addresses, as after a fork
  BACKED: 9, //      nothing is loaded: entries name the pages of a backing
  PREFETCH: 10, //   pages that lie in a backing now, into new anonymous frames
} as const;

/** Bits of FLAGS, which modify a run. */
export const LOAD_FLAG = {
  MAPPED: 1, //      CACHE, CACHE_ZERO: leaves map the frames of the page cache
  HUGE: 2, //        ANON, SHARE: 512 pages behind one 2 MiB leaf, where that is possible
  WRITABLE: 8, //    the leaves are writable
  SPECIAL: 16, //    the leaves are special: there is no normal page behind them
  MERGED: 64, //     BACKED: KSM has merged the pages
  MORE: 256, //      the following run continues this one: their digest is that of both
  OF_PAGES: 128, //  the digest is that of the digests of the pages, see PageListDigest
  INTO: 32, //       the pages of the run may be there already; adopted frames are filled in place,
  //                 other pages make room: for nothing if ANON_ZERO, else for what KIND says
} as const;

/** The words of a run. */
const LOAD_RUN = {
  MM: 0, //     ordinal of the mm
  KIND: 1, //   LOAD
  FLAGS: 2, //  LOAD_FLAG
  PAGES: 3,
  START: 4, //  first page, u64
  SOURCE: 6, // byte of the source, u64; SHARE: ordinal of the other mm; BACKED: place of START
  FILE: 8, //   CACHE, CACHE_ZERO, CONTENT: file id in the machine; BACKED: number of the backing
  DIGEST: 9, // DigestKind
  INDEX: 10, // page of the file at START, u64
  LOW: 12, //   halves of the digest of its bytes
  HIGH: 13,
  PACKED: 14, // length of the zstd frame at SOURCE that holds the block of the pages, or 0
  BLOCK: 15, //  then: pages of that block
  SKIP: 16, //   and those of them before START
  WORDS: 17,
} as const;

const { MM, KIND, FLAGS, PAGES, START, SOURCE, FILE, DIGEST, INDEX, LOW, HIGH, WORDS } = LOAD_RUN;
const { PACKED, BLOCK, SKIP } = LOAD_RUN;

/** A run, decoded. Its digest, if any, is that of its bytes in the source. */
export interface LoadRun extends Digest {
  readonly mm: number;
  readonly kind: number;
  readonly flags: number;
  readonly pages: number;
  readonly start: number; // page
  readonly source: number;
  readonly file: number;
  readonly index: number;
  /** Of a run in a compressed block; otherwise 0 or left out. */
  readonly packed?: number;
  readonly blockPages?: number;
  readonly skip?: number;
}

/** Collects runs on the main thread. `share` makes the table for the workers. */
export class LoadList {
  #words = new Int32Array(64 * WORDS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Appends a run. */
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
    words[at + PACKED] = run.packed ?? 0;
    words[at + BLOCK] = run.blockPages ?? 0;
    words[at + SKIP] = run.skip ?? 0;
    this.#count++;
  }

  /** Pages of a run, by its index. */
  pages(run: number): number {
    return this.#words[run * WORDS + PAGES]!;
  }

  /** Whether the run after this one continues it. */
  hasMore(run: number): boolean {
    return (this.#words[run * WORDS + FLAGS]! & LOAD_FLAG.MORE) !== 0;
  }

  /** Pages of all runs. */
  totalPages(): number {
    let pages = 0;
    for (let run = 0; run < this.#count; run++) pages += this.pages(run);
    return pages;
  }

  /** A copy of the list in shared memory. */
  share(): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(this.#count * WORDS * 4);
    new Int32Array(buffer).set(this.#words.subarray(0, this.#count * WORDS));
    return buffer;
  }
}

/** Decodes the run with index `run` of a shared list. */
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
    packed: words[at + PACKED]!,
    blockPages: words[at + BLOCK]!,
    skip: words[at + SKIP]!,
  };
}

/** The mm of a run, without decoding the others of its fields. */
export function loadRunMm(words: Int32Array, run: number): number {
  return words[run * WORDS + MM]!;
}

/** The kind of a run, without decoding the others of its fields. */
export function loadRunKind(words: Int32Array, run: number): number {
  return words[run * WORDS + KIND]!;
}
