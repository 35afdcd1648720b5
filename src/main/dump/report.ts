/** What a dump says of itself. Counts are pages unless a name says otherwise; times milliseconds. */
import type { PhaseReport } from '../../shared/dump/tasks.ts';
import type { MemoryUsage } from '../image/memory-usage.ts';
import type { WorkerProgress } from '../job/progress.ts';
import type { SkippedPages } from './tally.ts';

/** Pages by their class: docs/CLASSIFICATION.md. */
export interface PageCounts {
  /** Mapped, and never touched: not stored. */
  readonly absent: number;
  /** Stored as they are. */
  readonly copy: number;
  /** Pages of zeros, recorded without their bytes. */
  readonly zero: number;
  /** An earlier address space of the image stores them. */
  readonly clone: number;
  /** Pages that no rule can store. */
  readonly unsupported: number;
}

/** What a dump says of one mapping. */
export interface VmaReport {
  /** Address of its first byte. */
  readonly start: number;
  /** First address after it. */
  readonly end: number;
  /** Its pages by class. */
  readonly pages: PageCounts;
}

/** What a dump says of one address space. */
export interface MmReport extends MemoryUsage {
  /** Where the mm came from, as the caller named it. */
  readonly source: string;
  /** Its mappings, ascending. */
  readonly vmas: readonly VmaReport[];
  /** Its pages by class. */
  readonly pages: PageCounts;
  /** Entries of its LDT that are in use. */
  readonly ldtEntries: number;
}

/**
 * 'copy': the one pass that a dump makes. 'count': a pass before it that writes nothing, for sinks of
 * kind 'stream' and 'split', for `sizeLimit`, and for an estimate.
 */
export type DumpPhase = 'count' | 'copy';

/** What one worker did in one phase. */
export interface WorkerReport {
  /** What it worked on. */
  readonly phase: DumpPhase;
  /** Ordinal of the worker, from 0. */
  readonly worker: number;
  /** Work units that it has done. */
  readonly units: number;
  /** Pages in them. */
  readonly pages: number;
  /** Bytes that it has written. */
  readonly bytes: number;
  /** Time from its first claim to its last. */
  readonly busyMs: number;
  /** From the start of the dump. */
  readonly startMs: number;
}

/** What a dump says of itself. */
export interface DumpReport {
  /** What was written. */
  readonly image: {
    /** Where it lies; null where that is no file. */
    readonly path: string | null;
    /** Its format: docs/IMAGE_FORMAT.md. */
    readonly format: 'cpt';
    /** Its length. */
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
  /** The address spaces, in the order of the dump. */
  readonly mms: readonly MmReport[];
  /** Bytes by which the image would be longer if every mm were stored by itself. */
  readonly savedBytes: number;
  /** What was left out because a policy said 'skip'. */
  readonly skipped: readonly SkippedPages[];
  /** Times, in milliseconds. */
  readonly ms: {
    /** Waiting for those who were inside the machine, and for locks. */
    readonly lockWait: number;
    /** The machine stood still for so long. 0 if it ran meanwhile (`freeze: false`). */
    readonly pause: number;
    /**
     * The mmap locks were held for reading for so long: whoever needs one for writing waited. With
     * `freeze` this is the pause.
     */
    readonly locked: number;
    /** Finding the mappings and the tables below them. */
    readonly plan: number;
    /** Looking at every page, copying it, and the counting pass before, if there is one. */
    readonly copy: number;
    /** Making the image appear under its name, on the disk. */
    readonly commit: number;
    /** All of it. */
    readonly total: number;
  };
  /** Bytes of the image by the total time. */
  readonly bytesPerSecond: number;
  /** What each worker did, phase by phase. */
  readonly perWorker: readonly WorkerReport[];
}

/** What an estimate says: the report of a dump, but for an image that is not there. */
export interface DumpEstimate extends Omit<DumpReport, 'image'> {
  /** What would be written. */
  readonly image: {
    /** There is none. */
    readonly path: null;
    /** Its format: docs/IMAGE_FORMAT.md. */
    readonly format: 'cpt';
    /** Exactly what a dump with the same options would write. */
    readonly bytes: number;
    /** It takes the pages themselves to know it. */
    readonly id: null;
  };
}

/** How far a dump is. Totals are 0 as long as they are not known. */
export interface DumpProgress {
  /** What the workers do. */
  readonly phase: DumpPhase;
  /** Work units. */
  readonly units: number;
  /** Units of the whole phase. */
  readonly totalUnits: number;
  /** Pages whose bytes the image will hold in 'count', holds in 'copy'. The total is not known. */
  readonly pages: number;
  /** Pages of the whole phase. */
  readonly totalPages: number;
  /** Of the image, written so far. The total is known after a counting pass. */
  readonly bytes: number;
  /** Length of the image. */
  readonly totalBytes: number;
  /** Milliseconds that are left if it goes on like this; null while unknown. */
  readonly etaMs: number | null;
  /** What each worker has done so far. */
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
