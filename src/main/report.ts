/** What a dump says of itself. Counts are pages unless a name says otherwise; times milliseconds. */
import type { PhaseReport } from '../shared/dump/tasks.ts';
import type { SkippedPages } from './dump/tally.ts';
import type { MemoryUsage } from './memory-usage.ts';
import type { WorkerProgress } from './progress.ts';

export interface PageCounts {
  readonly absent: number;
  readonly copy: number;
  readonly zero: number;
  readonly clone: number;
  readonly unsupported: number;
}

export interface VmaReport {
  readonly start: number; // address
  readonly end: number;
  readonly pages: PageCounts;
}

export interface MmReport extends MemoryUsage {
  /** Where the mm came from, as the caller named it. */
  readonly source: string;
  readonly vmas: readonly VmaReport[];
  readonly pages: PageCounts;
  readonly ldtEntries: number;
}

export type DumpPhase = 'classify' | 'copy';

export interface WorkerReport {
  readonly phase: DumpPhase;
  readonly worker: number;
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
  readonly busyMs: number;
  /** From the start of the dump. */
  readonly startMs: number;
}

export interface DumpReport {
  readonly image: {
    readonly path: string | null;
    readonly format: 'cpt';
    readonly bytes: number;
    /** First 16 bytes of sha256 over all record crcs, in hex. Names the image. */
    readonly id: string;
    /** Of an image in parts alone: how many. Their names are `path`, a dot, and a number from 000 on. */
    readonly parts?: number;
  };
  /** Of the phase that had most; as many as were asked for, where that is so. */
  readonly workers: number;
  /** `2: one per available core`, `1: the dump is small (212 KiB)`, `4 as asked`. */
  readonly workersReason: string;
  /** One instant; false: the machine ran meanwhile. */
  readonly frozen: boolean;
  readonly mms: readonly MmReport[];
  /** Bytes by which the image would be longer if every mm were stored by itself. */
  readonly savedBytes: number;
  /** What was left out because a policy said 'skip'. */
  readonly skipped: readonly SkippedPages[];
  readonly ms: {
    readonly lockWait: number;
    /** The machine stood still for so long. 0 if it ran meanwhile (`freeze: false`). */
    readonly pause: number;
    /**
     * The mmap locks were held for reading for so long: whoever needs one for writing waited. With
     * `freeze` this is the pause.
     */
    readonly locked: number;
    readonly plan: number;
    readonly classify: number;
    readonly layout: number;
    readonly copy: number;
    readonly commit: number;
    readonly total: number;
  };
  /** Bytes of the image by the total time. */
  readonly bytesPerSecond: number;
  readonly perWorker: readonly WorkerReport[];
}

/** What an estimate says: the report of a dump, but for an image that is not there. */
export interface DumpEstimate extends Omit<DumpReport, 'image'> {
  readonly image: {
    readonly path: null;
    readonly format: 'cpt';
    /** Exactly what a dump with the same options would write. */
    readonly bytes: number;
    /** It takes the pages themselves to know it. */
    readonly id: null;
  };
}

/** How far a dump is. Totals are 0 as long as they are not known. */
export interface DumpProgress {
  readonly phase: DumpPhase;
  /** Work units in 'classify', segments of the image in 'copy'. */
  readonly units: number;
  readonly totalUnits: number;
  /** Pages that will be stored in 'classify', that are in 'copy', where the total is known. */
  readonly pages: number;
  readonly totalPages: number;
  /** Of the image; known in 'copy'. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** What is left of 'copy' in milliseconds if it goes on like this; null while unknown. */
  readonly etaMs: number | null;
  readonly perWorker: readonly WorkerProgress[];
}

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

/** Named stretches of time, one after the other. */
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

  total(): number {
    return performance.now() - this.#start;
  }
}
