/** Runs one pass on its workers, beside the sink that takes their output. */
import type { LookBack } from '../../shared/dump/look-back.ts';
import type { PassReport } from '../../shared/dump/tasks/pass-task.ts';
import type { Crew } from '../crew/crew.ts';
import type { Ferry } from '../crew/ferry.ts';
import type { TaskFields } from '../crew/phase.ts';
import type { OpenTarget } from '../sinks/open-target.ts';
import type { PhaseTotals } from './dump-progress.ts';
import type { Dump } from './engine.ts';
import { type DumpPhase, workerReports } from './report.ts';
import type { Pins } from './running.ts';

/** The reason that a sink is given at the end. An error would be made with a stack each time. */
const OVER = 'the pass is over';

/** A pass that is about to run. */
export interface PassWork {
  readonly name: DumpPhase;
  /** What the progress of the pass is measured against. */
  readonly totals: PhaseTotals;
  /** Workers may wait in these two, so they are woken when the pass has to stop. */
  readonly lookBack: LookBack;
  readonly pins: Pins | undefined;
  /** Carries pages of memory that is not shared. */
  readonly ferry: Ferry;
  /** Brings what the workers write to the sink, if they do not write there themselves. */
  readonly drain: OpenTarget['drain'];
}

/**
 * Resolves with the reports of the workers once the sink has taken everything. If several of them
 * fail, the error of the sink comes first, since it says more than that of the pass which it has
 * stopped.
 */
export async function runPassPhase(
  { engine, options, startedAt, meter, workers }: Dump,
  { name, totals, lookBack, pins, ferry, drain }: PassWork,
  crew: Pick<Crew, 'workers' | 'here'>,
  taskOf: (worker: number) => TaskFields<DumpPhase>,
): Promise<readonly PassReport[]> {
  const { signal } = options;
  const over = new AbortController();
  const phase = engine.pool.phase(name, crew);
  const { control } = phase;
  const wake = (): void => {
    control.stop(); // first, so that workers that wake up see it
    lookBack.wake();
    pins?.wake();
  };
  signal?.addEventListener('abort', wake, { once: true });
  const onLost = (worker: number): void => {
    pins?.lost(worker);
    wake();
  };
  const onProgress = meter.begin(name, totals);
  const running = phase
    .run(taskOf, { signal, onLost, onProgress, pace: meter.pace, ferry })
    .finally(() => {
      over.abort(OVER);
      signal?.removeEventListener('abort', wake);
    });
  const draining = drain?.({ phase: control, over: over.signal, signal });
  const emptied = pins?.drain(over.signal);
  const [work, output, unpinned] = await Promise.allSettled([running, draining, emptied]);
  if (output.status === 'rejected') throw output.reason;
  if (work.status === 'rejected') throw work.reason;
  if (unpinned.status === 'rejected') throw unpinned.reason;
  workers.push(...workerReports(name, work.value, startedAt));
  return work.value;
}
