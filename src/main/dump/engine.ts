/** What a dump has at hand: the threads and buffers of its dumper, its options, its clocks. */
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { Crew } from '../crew/crew.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { Deadline, Yielder } from '../job/stop.ts';
import type { Changes } from './changes.ts';
import type { DumpMeter } from './dump-progress.ts';
import type { ResolvedOptions } from './options.ts';
import type { PageDigestCache } from './page-digest-cache.ts';
import type { PreparedParent } from './parent.ts';
import type { Stopwatch, WorkerReport } from './report.ts';
import type { SharedBuffers } from './shared-buffers.ts';
import type { TrackedImages } from './tracked-images.ts';

/** What a dumper lends to a dump. */
export interface Engine {
  readonly pool: WorkerPool;
  readonly buffers: SharedBuffers;
  readonly digests: PageDigestCache;
  readonly tracked: TrackedImages;
}

/** One dump in progress. */
export interface Dump {
  readonly engine: Engine;
  readonly options: ResolvedOptions;
  readonly deadline: Deadline;
  readonly yielder: Yielder;
  readonly meter: DumpMeter;
  readonly startedAt: number; // ms since 1970
  readonly watch: Stopwatch;
  readonly workers: WorkerReport[];
  /** The crew of each pass so far. */
  readonly crews: Crew[];
  /** Undefined if the image has no parent. */
  readonly parent: PreparedParent | undefined;
  /** Which pages may have changed since the parent. */
  readonly changes: Changes;
}

/**
 * Begins a step of the dump, which a time-out will name. Throws AbortError if the dump must stop.
 */
export function enter({ deadline }: Dump, phase: string): void {
  deadline.phase = phase;
  throwIfAborted(deadline.signal);
}
