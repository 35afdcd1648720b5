/** What a dump says of itself. Counts are pages unless a name says otherwise; times milliseconds. */
import type { PhaseReport } from '../shared/dump/tasks.ts';
import type { SkippedPages } from './dump/tally.ts';
import type { MemoryUsage } from './memory-usage.ts';

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
  };
  readonly workers: number;
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
    readonly pause: number;
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

export interface DumpProgress {
  readonly phase: DumpPhase;
  readonly pages: number;
  readonly bytes: number;
  /** Bytes of the image once it is laid out, 0 before. */
  readonly totalBytes: number;
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
