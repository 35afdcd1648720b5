/**
 * The worker threads of a dumper, and how a phase runs on them. Each worker has one long task, and
 * the phase is over when all tasks have settled. If a task fails or its thread is lost, the others
 * stop at their next claim, and nothing waits for the lost one.
 *
 * Threads start when they are wanted (`crew/crew.ts`). A phase can begin while some of its threads
 * still start, because no task needs the progress of another one:
 *
 *  - Units are claimed, so the workers that are up do all of them.
 *  - A segment of a stream waits for a slot. Slots are emptied in the order in which segments are
 *    claimed, and a segment is claimed only by a worker that is up.
 *  - At the rendezvous of tests, workers do wait for each other. There every task has a thread of
 *    its own and queues behind no other task.
 */

import { onMachineEnd } from '../../mmu/machine/lifetime.ts';
import type { PhaseControl } from '../../shared/dump/phase-control.ts';
import type { PhaseReport, PhaseTask } from '../../shared/dump/tasks/phase-task.ts';
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

/** Options of one phase. */
export interface PhaseOptions {
  /** Stops the phase: workers claim no further unit, and `runPhase` rejects with AbortError. */
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times per second while the phase runs, and once at its end. */
  readonly onProgress?: ((done: PhaseProgress) => void) | undefined;
  /** Called when the thread of a worker is gone; others may be waiting for a lock that it held. */
  readonly onLost?: (worker: number) => void;
  /** Shared by the phases of one job, so that the bound on calls holds for all of them together. */
  readonly pace?: ProgressPace | undefined;
  /** The only task runs on the thread of the caller (`Crew.here`). */
  readonly here?: boolean;
}

/** Options of a pool that only tests use: see `DumperOptions`. */
export interface PoolTests {
  readonly rendezvous: boolean;
  readonly faults: FaultPlan | undefined;
}

/** The worker threads of one dumper. */
export class WorkerPool {
  /** The most workers that a phase is given. */
  readonly workers: number;
  /** How many workers the caller has asked for; undefined: the number is chosen for each phase. */
  readonly asked: number | undefined;
  readonly #tests: PoolTests;
  readonly #threads: WorkerThread[] = [];
  /** Ends the subscription to machines that end. */
  readonly #deaf: () => void;
  /** The most workers that a phase would have been worth so far if all threads had been up. */
  #worth = 0;

  /**
   * With `asked`, that many threads start now. Without it the number is chosen for each phase, and
   * the threads that a job of `expectedBytes` is worth start now.
   */
  constructor(asked: number | undefined, tests: PoolTests, expectedBytes = 0) {
    const host = readHost();
    this.asked = asked;
    this.workers = asked ?? mostWorkers(host).workers;
    this.#tests = tests;
    this.#start(asked ?? threadsToStart(host, expectedBytes));
    this.#deaf = onMachineEnd(async () => {
      await Promise.all(this.#threads.map((thread) => thread.dropMachines()));
    });
  }

  /** Chooses the workers of a phase. */
  crew(work: Work): Crew {
    const up = this.#threads.filter(({ isUp }) => isUp).length;
    const mayRunHere =
      work.mayRunHere && !this.#tests.rendezvous && this.#tests.faults === undefined;
    const crew = chooseCrew(readHost(), { asked: this.asked, up }, { ...work, mayRunHere });
    this.#worth = Math.max(this.#worth, crew.worth);
    return crew;
  }

  /** Starts a thread if there is none: a job begins that needs one, however small it is. */
  expectOne(): void {
    this.#start(1);
  }

  /** Starts the threads that it is worth having when `bytes` bytes are copied soon. */
  expect(bytes: number): void {
    if (this.asked === undefined) this.#start(threadsToStart(readHost(), bytes));
  }

  /**
   * Starts the threads that earlier jobs would have been worth: a thread that does not pay for one
   * job pays for several. No job waits for their start.
   */
  nextJob(): void {
    this.#start(this.#worth > 1 ? this.#worth : 0);
  }

  /** Makes sure that there are at least `threads` threads. */
  #start(threads: number): void {
    const hasLittleHeap = this.#tests.faults !== undefined;
    while (this.#threads.length < threads) this.#threads.push(new WorkerThread(hasLittleHeap));
  }

  /**
   * Runs one task per element of `tasks` and resolves with the reports, by worker. It rejects with
   * the error that `collect` chooses, with AbortError, or with what `onProgress` has thrown.
   */
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

  /** Threads for `count` tasks; those that are up come first. */
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

/** A thread that can run a task. */
interface Runner {
  run<T>(message: unknown, phase: PhaseName): Promise<T>;
}

/** The module of the tasks, which every worker thread loads, loaded into this thread. */
type Tasks = Record<PhaseName, (message: unknown) => unknown>;
let tasksHere: Tasks | undefined;

/** The thread of the caller, for work that ends before another thread would have begun it. */
const RUN_HERE: Runner = {
  async run<T>(message: unknown, phase: PhaseName): Promise<T> {
    tasksHere ??= (await import(tasksUrl())) as Tasks;
    return tasksHere[phase](message) as T;
  },
};

/** Runs one task and resolves with its outcome. The loss of its thread is an outcome, too. */
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
    // The task has not begun: PACKAGE_BUNDLED, the module of the tasks was not found.
    if (error instanceof MmdumpError) return { ok: false, failure: toFailure(error) };
    const unit = control.claimedBy(worker);
    const lost = workerLost('was lost', worker, phase, unit, reasonOf(error));
    return { ok: false, failure: toFailure(lost) };
  }
}

/**
 * Returns the reports, or throws one error: that of the first worker that was lost, else that of
 * the first worker that failed. A loss comes first, since it may have caused the other failures.
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
