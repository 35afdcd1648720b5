/**
 * The worker threads of a dumper, and how a phase runs on them: one long task per worker, all of
 * them settled before the phase is over. A task that fails, or whose thread is lost, stops the
 * others at their next claim; nothing waits for it.
 *
 * Threads start when they are wanted (`crew/crew.ts`). That some are up and others not yet changes
 * nothing but the time: no task needs another one's to get on. Units are claimed, so whoever is there does
 * them all; a segment of a stream waits for a slot, which is emptied in the order in which segments are
 * claimed; and at the rendezvous of tests, which does wait for the others, every task has a thread of
 * its own, queued behind nobody.
 */

import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import type { PhaseReport, PhaseTask } from '../../shared/dump/tasks.ts';
import {
  type Failure,
  fromFailure,
  MmdumpError,
  type Outcome,
  reasonOf,
  toFailure,
  workerLost,
} from '../../shared/errors.ts';
import type { FaultPlan, PhaseName } from '../../shared/faults.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { type PhaseProgress, type ProgressPace, ProgressWatch } from '../job/progress.ts';
import { tasksUrl } from '../package/places.ts';
import { type Crew, chooseCrew, mostWorkers, threadsToStart, type Work } from './crew.ts';
import { readHost } from './host.ts';
import { WorkerThread } from './worker-thread.ts';

/** Module of src/workers and the task that it exports. */
export interface PhaseOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times a second while the phase runs, and once at its end. */
  readonly onProgress?: ((done: PhaseProgress) => void) | undefined;
  /** A worker's thread is gone, others may be waiting for what it held. */
  readonly onLost?: (worker: number) => void;
  /** Of a job of several phases: so often at most over all of them. */
  readonly pace?: ProgressPace | undefined;
  /** The one task runs on the thread of the caller (`Crew.here`). */
  readonly here?: boolean;
}

/** What tests ask of a pool: see `DumperOptions`. */
export interface PoolTests {
  readonly rendezvous: boolean;
  readonly faults: FaultPlan | undefined;
}

export class WorkerPool {
  /** The most that a phase is given. */
  readonly workers: number;
  /** How many workers the caller has asked for; undefined: they are chosen. */
  readonly asked: number | undefined;
  readonly #tests: PoolTests;
  readonly #threads: WorkerThread[] = [];
  readonly #deaf: () => void;
  /** What an earlier job was worth, had the threads been up. */
  #worth = 0;

  /**
   * `asked`: so many workers, all started now. Without it they are chosen, phase by phase, and those
   * are started now that a job of `expectedBytes` needs.
   */
  constructor(asked: number | undefined, tests: PoolTests, expectedBytes = 0) {
    const host = readHost();
    this.asked = asked;
    this.workers = asked ?? mostWorkers(host).workers;
    this.#tests = tests;
    this.#start(asked ?? threadsToStart(host, expectedBytes));
    this.#deaf = onMachineEnd(async () => {
      await Promise.all(this.#threads.map((thread) => thread.letGo()));
    });
  }

  /** The workers for a phase. */
  crew(work: Work): Crew {
    const up = this.#threads.filter(({ isUp }) => isUp).length;
    const mayRunHere =
      work.mayRunHere && !this.#tests.rendezvous && this.#tests.faults === undefined;
    const crew = chooseCrew(readHost(), { asked: this.asked, up }, { ...work, mayRunHere });
    this.#worth = Math.max(this.#worth, crew.worth);
    return crew;
  }

  /** A job begins that needs a thread, however small it is. */
  expectOne(): void {
    this.#start(1);
  }

  /** So many bytes are to be copied soon: starts the threads that are worth it. */
  expect(bytes: number): void {
    if (this.asked === undefined) this.#start(threadsToStart(readHost(), bytes));
  }

  /** Another job comes: what was not worth starting for one is for many. Nobody waits for it. */
  nextJob(): void {
    this.#start(this.#worth > 1 ? this.#worth : 0);
  }

  #start(threads: number): void {
    const hasLittleHeap = this.#tests.faults !== undefined;
    while (this.#threads.length < threads) this.#threads.push(new WorkerThread(hasLittleHeap));
  }

  /** Runs one task per element and resolves with the reports, by worker. */
  async runPhase<T extends PhaseTask, R extends PhaseReport = PhaseReport>(
    phase: PhaseName,
    tasks: readonly T[],
    control: PhaseControl,
    options: PhaseOptions = {},
  ): Promise<R[]> {
    const { signal } = options;
    const stop = (): void => control.stop();
    throwIfAborted(signal);
    signal?.addEventListener('abort', stop, { once: true });
    const watch = new ProgressWatch(control, options.onProgress, options.pace);
    try {
      const runners = options.here === true ? [RUN_HERE] : this.#runners(tasks.length);
      const settled = await Promise.all(
        this.#withTests(tasks, phase).map((message, index) =>
          runTask<R>(runners[index]!, message, phase, control, options),
        ),
      );
      throwIfAborted(signal);
      watch.finish();
      return collect(settled, phase, control);
    } finally {
      watch.stop();
      signal?.removeEventListener('abort', stop);
    }
  }

  #withTests<T extends PhaseTask>(tasks: readonly T[], phase: PhaseName): readonly T[] {
    const { rendezvous, faults } = this.#tests;
    if (!rendezvous && faults === undefined) return tasks;
    const tests = { phase, rendezvous: rendezvous ? tasks.length : 0, faults: faults?.armed };
    return tasks.map((task) => ({ ...task, tests }));
  }

  /** Threads for so many tasks, first those that are up. */
  #runners(count: number): Runner[] {
    this.#start(count);
    const up = this.#threads.filter(({ isUp }) => isUp);
    return [...up, ...this.#threads.filter(({ isUp }) => !isUp)].slice(0, count);
  }

  async close(): Promise<void> {
    this.#deaf();
    await Promise.all(this.#threads.splice(0).map((thread) => thread.end()));
  }
}

/** Where a task runs. */
interface Runner {
  run<T>(message: unknown, phase: PhaseName): Promise<T>;
}

/** What a thread loads, loaded here. */
type Tasks = Record<PhaseName, (message: unknown) => unknown>;
let tasksHere: Tasks | undefined;

/** The thread of the caller, for work that is done before another thread would have begun. */
const RUN_HERE: Runner = {
  async run<T>(message: unknown, phase: PhaseName): Promise<T> {
    tasksHere ??= (await import(tasksUrl())) as Tasks;
    return tasksHere[phase](message) as T;
  },
};

/** The outcome of one task. A lost thread is an outcome, too. */
async function runTask<R extends PhaseReport>(
  runner: Runner,
  message: PhaseTask,
  phase: PhaseName,
  control: PhaseControl,
  { onLost }: PhaseOptions,
): Promise<Outcome<R>> {
  try {
    return await runner.run<Outcome<R>>(message, phase);
  } catch (error) {
    control.stop();
    const { worker } = message;
    onLost?.(worker);
    // Not even begun: the file of the tasks is not where it should be.
    if (error instanceof MmdumpError) return { ok: false, failure: toFailure(error) };
    const unit = control.claimedBy(worker);
    const lost = workerLost('was lost', worker, phase, unit, reasonOf(error));
    return { ok: false, failure: toFailure(lost) };
  }
}

/**
 * The reports, or one error: that of the first worker that was lost, since what others failed with
 * may have come of it, else of the first that failed.
 */
function collect<R>(outcomes: readonly Outcome<R>[], name: string, control: PhaseControl): R[] {
  const reports: R[] = [];
  let failed: { readonly worker: number; readonly failure: Failure } | undefined;
  outcomes.forEach((outcome, worker) => {
    if (outcome.ok) {
      reports.push(outcome.value);
      return;
    }
    const { failure } = outcome;
    if (failed === undefined || (isLoss(failure) && !isLoss(failed.failure))) {
      failed = { worker, failure };
    }
  });
  if (failed === undefined) return reports;
  const { worker, failure } = failed;
  throw fromFailure(failure, worker, name, control.claimedBy(worker));
}

function isLoss(failure: Failure): boolean {
  return failure.kind === 'crash' || (failure.kind === 'mmdump' && failure.code === 'WORKER_LOST');
}
