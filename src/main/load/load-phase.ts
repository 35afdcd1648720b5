/** Runs the load phase: all workers of a pool load the pages of a list into a machine. */
import type { MmReference } from '../../mmu/machine/enter.ts';
import { releaseAll } from '../../mmu/mm/operation.ts';
import { threadGone } from '../../mmu/mm/thread-gone.ts';
import type { LoadList } from '../../shared/dump/load-table.ts';
import type { PhaseReport } from '../../shared/dump/tasks/phase-task.ts';
import type { SourceReach } from '../../shared/dump/tasks/source-reach.ts';
import { GRANULE_PAGES, PAGE_SIZE } from '../../shared/page.ts';
import { Ferry } from '../crew/ferry.ts';
import type { PhaseOptions, TaskFields } from '../crew/phase.ts';
import type { WorkerPool } from '../crew/pool.ts';
import { cutIntoUnits } from '../crew/units.ts';
import { loadDigestKernels } from '../package/kernels.ts';

/** Pages of a berth: a run is loaded in parts that lie in one granule. */
const FERRY_PAGES = GRANULE_PAGES;
/** Pages of a unit, 2 MiB: a worker claims about one per millisecond. */
const UNIT_PAGES = 512;

/** Options of one load phase. */
export interface LoadOptions extends PhaseOptions {
  /**
   * Ends the phase once this many pages with content were found by CONTENT runs. Default: never.
   */
  readonly enough?: number;
}

/**
 * Loads all runs of the list and resolves with the reports of the workers. Rejects with AbortError,
 * and with the errors of the task `load`.
 *
 * Preconditions: all mms belong to one machine. The caller holds nothing there, since this waits
 * for thread ids, and for the gate and the mmap locks.
 */
export async function runLoadPhase(
  pool: WorkerPool,
  mms: readonly MmReference[],
  source: SourceReach,
  list: LoadList,
  options: LoadOptions,
): Promise<PhaseReport[]> {
  const machine = mms[0]?.machine;
  if (machine === undefined || list.count === 0) return [];
  let before = 0; // pages of earlier runs of the same block, which lie in the same unit
  const weightOf = (run: number): number => {
    const weight = before + list.pages(run);
    before = list.hasMore(run) ? weight : 0;
    return weight - before;
  };
  const units = cutIntoUnits(list.count, weightOf, UNIT_PAGES);
  let pages = 0;
  for (let run = 0; run < list.count; run++) pages += list.pages(run);
  const crew = pool.crew({
    units: units.unitCount,
    bytes: pages * PAGE_SIZE,
    mayRunHere: false, // workers wait for locks
  });
  // This may wait for ids. The threads that have them cannot be waiting for this job, which holds
  // nothing yet.
  const threads = await machine.queue.take(crew.workers, options.signal);
  const lost = new Set<number>();
  try {
    const message = {
      ...units,
      machine: machine.handle,
      mms: mms.map(({ slot, generation }) => ({ slot, generation })),
      source,
      enough: options.enough ?? 0,
      loads: list.share(),
      digestKernel: loadDigestKernels().inside,
    };
    const ferry = new Ferry(pool.ferryBuffers);
    const taskOf = (worker: number): TaskFields<'load'> => {
      const thread = threads[worker]!;
      return { ...message, thread, ferry: ferry.reach(machine, FERRY_PAGES) };
    };
    const reports = await pool.phase('load', crew).run(taskOf, {
      ...options,
      ferry,
      onLost: (worker) => {
        // Cleaned up at once, because other workers may be waiting for a lock that it held.
        threadGone(machine, threads[worker]!);
        lost.add(threads[worker]!);
      },
    });
    releaseAll(machine, threads);
    return reports;
  } catch (error) {
    // A worker that crashed may still hold locks. The ids of lost workers may have other owners
    // now.
    for (const thread of threads) if (!lost.has(thread)) threadGone(machine, thread);
    throw error;
  }
}
