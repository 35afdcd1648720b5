/** Running the load phase: listed pages into a machine, by all workers of a pool. */
import type { MmReference } from '../../mmu/machine/enter.ts';
import { releaseAll } from '../../mmu/mm/operation.ts';
import { threadGone } from '../../mmu/mm/thread-gone.ts';
import type { LoadList } from '../../shared/dump/load-table.ts';
import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import type { LoadTask, PhaseReport, SourceReach } from '../../shared/dump/tasks.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { PhaseOptions, WorkerPool } from '../crew/pool.ts';
import { cutIntoUnits } from '../crew/units.ts';
import { loadDigestKernels } from '../package/kernels.ts';

/** Pages of a unit: 2 MiB, a claim every millisecond or so. */
const UNIT_PAGES = 512;

export interface LoadOptions extends PhaseOptions {
  /** Ends the phase once so many pages of CONTENT runs were found. */
  readonly enough?: number;
}

/** Loads everything on the list. All mms belong to one machine. */
export async function runLoadPhase(
  pool: WorkerPool,
  mms: readonly MmReference[],
  source: SourceReach,
  list: LoadList,
  options: LoadOptions,
): Promise<PhaseReport[]> {
  const machine = mms[0]?.machine;
  if (machine === undefined || list.count === 0) return [];
  const units = cutIntoUnits(list.count, (run) => list.pages(run), UNIT_PAGES);
  let pages = 0;
  for (let run = 0; run < list.count; run++) pages += list.pages(run);
  const { workers } = pool.crew({
    units: units.unitCount,
    bytes: pages * PAGE_SIZE,
    mayRunHere: false, // it waits for locks
  });
  const phase = createPhase(workers);
  // Nothing is held yet that those who have the ids could wait for.
  const threads = await machine.queue.take(workers, options.signal);
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
      phase,
    };
    const tasks: LoadTask[] = threads.map((thread, worker) => ({ ...message, thread, worker }));
    const reports = await pool.runPhase('load', tasks, new PhaseControl(phase), {
      ...options,
      onLost: (worker) => {
        // At once: the other workers may be waiting for a lock that it held.
        threadGone(machine, threads[worker]!);
        lost.add(threads[worker]!);
      },
    });
    releaseAll(machine, threads);
    return reports;
  } catch (error) {
    // Nor has one that crashed let go of everything. Ids of lost ones may be somebody else's by now.
    for (const thread of threads) if (!lost.has(thread)) threadGone(machine, thread);
    throw error;
  }
}
