/** The report of a dump. Counts are pages unless a name says otherwise, and times milliseconds. */
import type { PhaseReport } from '../../shared/dump/tasks/phase-task.ts';
import type { MemoryUsage } from '../image/memory-usage.ts';
import type { WorkerProgress } from '../job/progress.ts';
import type { ImageFormat } from './options.ts';
import type { SkippedPages } from './tally.ts';

/** Pages by their class: docs/CLASSIFICATION.md. */
export interface PageCounts {
  /**
   * Pages of which nothing is stored here: pages that were never touched, guard pages, pages that a
   * file or another mapping supplies, and pages that an option leaves out.
   */
  readonly absent: number;
  /** Pages that are stored with their bytes. */
  readonly copy: number;
  /** Pages of zeros, recorded without their bytes. */
  readonly zero: number;
  /** Pages that an earlier address space of the image stores. */
  readonly clone: number;
  /** Pages that no rule can store. */
  readonly unsupported: number;
  /** Pages that are the same in the parent image, recorded without their bytes. */
  readonly parent: number;
}

/** The report of one mapping. */
export interface VmaReport {
  /** Address of its first byte, in bytes. */
  readonly start: number;
  /** First address after it. */
  readonly end: number;
  /** Its pages by class. */
  readonly pages: PageCounts;
}

/** The report of one address space. */
export interface MmReport extends MemoryUsage {
  /** Where the mm came from, as the caller named it. */
  readonly source: string;
  /** Its mappings, ascending. The list is made when it is looked at for the first time. */
  readonly vmas: readonly VmaReport[];
  /** Its pages by class. */
  readonly pages: PageCounts;
  /** Entries of its LDT that are in use. */
  readonly ldtEntries: number;
}

/**
 * 'copy': the pass that writes the image. 'count': a pass before it that writes nothing. It runs
 * for an estimate, for `sizeLimit`, for sinks of kind 'stream' and 'split', for a sink in memory if
 * the length is too uncertain to reserve, and if an upper page table is damaged while `unsupported`
 * is 'fail'.
 */
export type DumpPhase = 'count' | 'copy';

/** What one worker did in one phase. */
export interface WorkerReport {
  /** The phase that it worked in. */
  readonly phase: DumpPhase;
  /** Ordinal of the worker, from 0. */
  readonly worker: number;
  /** Work units that it has done. */
  readonly units: number;
  /** Pages in them. */
  readonly pages: number;
  /** Bytes that it has written. */
  readonly bytes: number;
  /** Milliseconds from the start of its task to the end. */
  readonly busyMs: number;
  /** Milliseconds from the start of the dump to the start of its task. */
  readonly startMs: number;
}

/** The report of a dump. */
export interface DumpReport {
  /** What was written. */
  readonly image: {
    /** Path of the image, or null if it is not in a file. */
    readonly path: string | null;
    /** Its format: docs/IMAGE_FORMAT.md. */
    readonly format: ImageFormat;
    /** Its length in bytes. */
    readonly bytes: number;
    /** First 16 bytes of sha256 over all record crcs, in hex. Names the image. Only for 'cpt', else empty. */
    readonly id: string;
    /**
     * Number of parts, only for an image in parts. The name of a part is `path`, a dot, and a
     * number from 000 on.
     */
    readonly parts?: number;
  };
  /** Workers of the phase that had most of them, or the number that the caller has asked for. */
  readonly workers: number;
  /** Why, as `2: one per available core`, `1: the dump is small (212 KiB)` or `4 as asked`. */
  readonly workersReason: string;
  /** true: the image shows one instant. false: the machine ran meanwhile, and pages of it show. */
  readonly frozen: boolean;
  /**
   * How the pages were found that are the same in the parent image: by 'dirty' bits, or by the
   * 'digests' of all pages. null: the image has no parent.
   */
  readonly changes: 'dirty' | 'digests' | null;
  /** The address spaces, in the order of the dump. */
  readonly mms: readonly MmReport[];
  /** Bytes by which the image would be longer if every mm were stored by itself. */
  readonly savedBytes: number;
  /** Pages that could not be stored, and pages that `hugetlb` or `dontDump` has left out. */
  readonly skipped: readonly SkippedPages[];
  /** What the image cannot hold, one line each. Empty for 'cpt'. */
  readonly warnings: readonly string[];
  /** Times, in milliseconds. */
  readonly ms: {
    /** Waiting for threads inside the machine, and for locks. */
    readonly lockWait: number;
    /**
     * How long the machine stood still. With `pause: 'fork'`, how long the address spaces did while
     * the snapshot was taken. 0 if nothing stood still (`freeze: false`).
     */
    readonly pause: number;
    /**
     * How long the mmap locks were held for reading. Threads that needed one for writing had to
     * wait. With `freeze` this is the pause.
     */
    readonly locked: number;
    /** Finding the mappings and the tables below them. */
    readonly plan: number;
    /** Looking at all pages and copying them, with the counting pass if there was one. */
    readonly copy: number;
    /** Making the image appear under its name, on the disk. */
    readonly commit: number;
    /** The whole dump. */
    readonly total: number;
  };
  /** Bytes of the image per second of the total time. */
  readonly bytesPerSecond: number;
  /** What each worker did, phase by phase. */
  readonly perWorker: readonly WorkerReport[];
}

/** The report of an estimate: that of a dump, for an image that is not written. */
export interface DumpEstimate extends Omit<DumpReport, 'image'> {
  /** What would be written. */
  readonly image: {
    /** Always null: there is no file. */
    readonly path: null;
    /** Its format: docs/IMAGE_FORMAT.md. */
    readonly format: ImageFormat;
    /** The exact length in bytes of what a dump with the same options would write. */
    readonly bytes: number;
    /** Always null: the id is made of records that an estimate does not write. */
    readonly id: null;
  };
}

/** How far a dump is. A total that is not known is 0. */
export interface DumpProgress {
  /** The phase that the workers are in. */
  readonly phase: DumpPhase;
  /** Work units that are done. */
  readonly units: number;
  /** Work units of the whole phase. */
  readonly totalUnits: number;
  /** Pages that the image stores with their bytes: counted so far in 'count', copied in 'copy'. */
  readonly pages: number;
  /** Always 0: how many pages a phase has is not known before its end. */
  readonly totalPages: number;
  /** Bytes of the image that are written so far. */
  readonly bytes: number;
  /** Length of the image in bytes. It is known after a counting pass, and 0 otherwise. */
  readonly totalBytes: number;
  /** Milliseconds that are left at the present rate; null while unknown. */
  readonly etaMs: number | null;
  /** What each worker has done so far. */
  readonly perWorker: readonly WorkerProgress[];
}

/** The workers' reports of a phase. The dump started at `startedAt`, milliseconds since 1970. */
export function workerReports(
  phase: DumpPhase,
  reports: readonly PhaseReport[],
  startedAt: number,
): WorkerReport[] {
  return reports.map(({ worker, units, pages, bytes, busyMs, startedAt: at }) => ({
    phase,
    worker,
    units,
    pages,
    bytes,
    busyMs,
    startMs: at - startedAt,
  }));
}

/** Measures laps of time, one after the other. */
export class Stopwatch {
  readonly #start = performance.now();
  #lap = performance.now();

  /** Milliseconds since the last lap (or the start). */
  lap(): number {
    const now = performance.now();
    const ms = now - this.#lap;
    this.#lap = now;
    return ms;
  }

  /** Milliseconds since the start. */
  total(): number {
    return performance.now() - this.#start;
  }
}
