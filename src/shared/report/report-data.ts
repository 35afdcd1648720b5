/**
 * What a report page is given about an image. `main/report` makes it, and `src/report`, which runs
 * in the browser, draws it. It is JSON, so that it can stand in the page as text.
 */

/** Values of what a page is, in the stream of runs: indices of PAGE_KINDS. */
export const PAGE_KIND = { ABSENT: 0, COPY: 1, ZERO: 2, CLONE: 3, GUARD: 4, PARENT: 5 } as const;

/** The names of the kinds, in the order of their values. */
export const PAGE_KINDS = ['absent', 'copy', 'zero', 'clone', 'guard', 'parent'] as const;

/** What a mapping is. */
export type MappingKind = 'anonymous' | 'file' | 'heap' | 'stack' | 'vdso' | 'device';

/** A mapping, under short names, since there may be many. */
export interface ReportVma {
  /** Address of the first byte. */
  readonly s: number;
  /** First address after it. */
  readonly e: number;
  /** VM_* flags. */
  readonly f: number;
  /** vm_pgoff, in pages. */
  readonly o: number;
  /** Index of the path in `files`, or -1. */
  readonly n: number;
  readonly k: MappingKind;
}

/** An address space. */
export interface ReportMm {
  readonly fields: { readonly [name: string]: string };
  readonly ldtEntries: number;
  readonly rss: number;
  readonly pss: number;
  readonly unique: number;
  readonly vmas: readonly ReportVma[];
  /** The pages of its mappings, as `RunWriter` writes them, in base64. */
  readonly runs: string;
  /** Number of runs in all. */
  readonly runCount: number;
}

/** What one worker did in one phase of the dump: see WorkerReport. */
export interface ReportWorker {
  readonly phase: string;
  readonly worker: number;
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
  readonly busyMs: number;
  readonly startMs: number;
}

/** The dump that made the image, if its --json was given. */
export interface ReportRun {
  readonly workers: number;
  readonly workersReason: string;
  readonly ms: { readonly [name: string]: number };
  readonly perWorker: readonly ReportWorker[];
}

/** Pages whose bytes are in the report. */
export interface EmbeddedPages {
  /** Ordinal of the mm and page number of each, in pairs, by ascending order. */
  readonly places: readonly number[];
  /** The bytes of the pages in that order, as a raw deflate stream in base64. */
  readonly bytes: string;
}

/** Everything that a report shows. */
export interface ReportData {
  readonly generator: string;
  readonly image: {
    readonly name: string;
    readonly id: string;
    readonly bytes: number;
    readonly version: number;
    readonly digest: string;
    readonly frozen: boolean;
    readonly savedBytes: number;
  };
  readonly files: readonly string[];
  readonly mms: readonly ReportMm[];
  readonly run: ReportRun | null;
  readonly embedded: EmbeddedPages;
}
