/**
 * One phase of a job on the workers of a pool. Each worker has one long task, and the phase is over
 * when all tasks have settled. If a task fails or its thread is lost, the others stop at their next
 * claim, and nothing waits for the lost one.
 *
 * A phase can begin while some of its threads still start, because no task needs the progress of
 * another one:
 *
 *  - Units are claimed, so the workers that are up do all of them.
 *  - A segment of a stream waits for a slot. Slots are emptied in the order in which segments are
 *    claimed, and a segment is claimed only by a worker that is up.
 *  - At the rendezvous of tests, workers do wait for each other. There every task has a thread of
 *    its own and queues behind no other task.
 */

import { createPhase, PhaseControl } from '../../shared/dump/phase-control.ts';
import type { CompareReport, CompareTask } from '../../shared/dump/tasks/compare-task.ts';
import type { DiffTask } from '../../shared/dump/tasks/diff-task.ts';
import type { ExplainTask, PageVerdict } from '../../shared/dump/tasks/explain-task.ts';
import type { ListedRuns, ListRunsTask } from '../../shared/dump/tasks/list-runs-task.ts';
import type { LoadTask } from '../../shared/dump/tasks/load-task.ts';
import type { PassReport, PassTask } from '../../shared/dump/tasks/pass-task.ts';
import type { PhaseReport, PhaseTask, TaskTests } from '../../shared/dump/tasks/phase-task.ts';
import type { ScanReport, ScanTask } from '../../shared/dump/tasks/scan-task.ts';
import type { SearchReport, SearchTask } from '../../shared/dump/tasks/search-task.ts';
import type { VerifyTask } from '../../shared/dump/tasks/verify-task.ts';
import {
  type Failure,
  fromFailure,
  MmdumpError,
  type Outcome,
  reasonOf,
  toFailure,
  workerLost,
} from '../../shared/errors.ts';
import type { PhaseName } from '../../shared/faults.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { type PhaseProgress, type ProgressPace, ProgressWatch } from '../job/progress.ts';
import { tasksUrl } from '../package/places.ts';
import type { Ferry } from './ferry.ts';

/** What a worker is given in each phase, and what it reports. */
interface Phases {
  readonly count: { readonly task: PassTask; readonly report: PassReport };
  readonly copy: { readonly task: PassTask; readonly report: PassReport };
  readonly load: { readonly task: LoadTask; readonly report: PhaseReport };
  readonly verify: { readonly task: VerifyTask; readonly report: PhaseReport };
  readonly compare: { readonly task: CompareTask; readonly report: CompareReport };
  readonly diff: { readonly task: DiffTask; readonly report: PhaseReport };
  readonly search: { readonly task: SearchTask; readonly report: SearchReport };
  readonly scan: { readonly task: ScanTask; readonly report: ScanReport };
}

/** The fields of a task that its phase does not add by itself. */
export type TaskFields<N extends PhaseName> = Omit<Phases[N]['task'], keyof PhaseTask>;

/** What a worker of the phase reports. */
export type ReportOf<N extends PhaseName> = Phases[N]['report'];

/** Options of one phase. */
export interface PhaseOptions {
  /** Stops the phase: workers claim no further unit, and `run` rejects with AbortError. */
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times per second while the phase runs, and once at its end. */
  readonly onProgress?: ((done: PhaseProgress) => void) | undefined;
  /** Called when the thread of a worker is gone; others may be waiting for a lock that it held. */
  readonly onLost?: ((worker: number) => void) | undefined;
  /** A task may never come to its next claim. So its thread ends when `signal` fires. */
  readonly mayHang?: boolean;
  /** Shared by the phases of one job, so that the bound on calls holds for all of them together. */
  readonly pace?: ProgressPace | undefined;
  /** Carries pages of memory that is not shared while the workers run. */
  readonly ferry?: Ferry | undefined;
}

/** Something that can run a task: a thread of a pool, or the thread of the caller. */
export interface Runner {
  /** `signal` ends the thread. The thread of the caller cannot be ended. */
  run<T>(message: unknown, phase: PhaseName, signal?: AbortSignal): Promise<T>;
}

/** A phase of the name N. `WorkerPool.phase` makes it. */
export class Phase<N extends PhaseName> {
  /** The words that its workers share: another thread stops it and reads its progress by them. */
  readonly control: PhaseControl;
  readonly #name: N;
  readonly #words: SharedArrayBuffer;
  readonly #runners: readonly Runner[];
  readonly #tests: TaskTests | undefined;

  /** There is one worker for each runner. */
  constructor(name: N, runners: readonly Runner[], tests: TaskTests | undefined) {
    this.#name = name;
    this.#words = createPhase(runners.length);
    this.control = new PhaseControl(this.#words);
    this.#runners = runners;
    this.#tests = tests;
  }

  /**
   * Runs one task per worker, with the fields that `taskOf` returns for its ordinal, and resolves
   * with the reports, by worker. It rejects with the error that `collect` chooses, with AbortError,
   * or with what `onProgress` has thrown. A phase runs once.
   */
  async run(
    taskOf: (worker: number) => TaskFields<N>,
    { signal, onProgress, onLost, mayHang, pace, ferry }: PhaseOptions = {},
  ): Promise<ReportOf<N>[]> {
    const { control } = this;
    const end = { onLost, signal: mayHang === true ? signal : undefined };
    const stop = (): void => control.stop();
    throwIfAborted(signal);
    signal?.addEventListener('abort', stop, { once: true });
    const watch = new ProgressWatch(control, onProgress, pace);
    try {
      const tasks = Promise.all(
        this.#runners.map((runner, worker) => this.#task(runner, worker, taskOf(worker), end)),
      );
      const settled = await (ferry?.whileRunning(tasks, stop) ?? tasks);
      throwIfAborted(signal);
      watch.finish();
      return this.#collect(settled);
    } finally {
      watch.stop();
      signal?.removeEventListener('abort', stop);
    }
  }

  /** Runs one task and resolves with its outcome. The loss of its thread is an outcome, too. */
  async #task(
    runner: Runner,
    worker: number,
    fields: TaskFields<N>,
    { onLost, signal }: Pick<PhaseOptions, 'onLost' | 'signal'>,
  ): Promise<Outcome<ReportOf<N>>> {
    const message = { ...fields, phase: this.#words, worker };
    try {
      const withTests = this.#tests === undefined ? message : { ...message, tests: this.#tests };
      return await runner.run<Outcome<ReportOf<N>>>(withTests, this.#name, signal);
    } catch (error) {
      this.control.stop();
      onLost?.(worker);
      // The task has not begun: PACKAGE_BUNDLED, the module of the tasks was not found.
      if (error instanceof MmdumpError) return { ok: false, failure: toFailure(error) };
      const unit = this.control.claimedBy(worker);
      const lost = workerLost('was lost', worker, this.#name, unit, reasonOf(error));
      return { ok: false, failure: toFailure(lost) };
    }
  }

  /**
   * Returns the reports, or throws one error: that of the first worker that was lost, else that of
   * the first worker that failed. A loss comes first, since it may have caused the other failures.
   */
  #collect(outcomes: readonly Outcome<ReportOf<N>>[]): ReportOf<N>[] {
    const reports: ReportOf<N>[] = [];
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
    throw fromFailure(failure, worker, this.#name, this.control.claimedBy(worker));
  }
}

function isLoss(failure: Failure): boolean {
  return failure.kind === 'crash' || (failure.kind === 'mmdump' && failure.code === 'WORKER_LOST');
}

/** The module of the tasks, which every worker thread loads, loaded into this thread. */
type Tasks = Record<PhaseName | 'explain' | 'listRuns', (message: unknown) => unknown>;
let tasksHere: Tasks | undefined;

/** The thread of the caller, for work that ends before another thread would have begun it. */
export const RUN_HERE: Runner = {
  async run<T>(message: unknown, phase: PhaseName): Promise<T> {
    tasksHere ??= (await import(tasksUrl())) as Tasks;
    return tasksHere[phase](message) as T;
  },
};

/** Explains one page on the thread of the caller. This is no phase: there is nothing to share. */
export async function explainHere(task: ExplainTask): Promise<PageVerdict> {
  tasksHere ??= (await import(tasksUrl())) as Tasks;
  const outcome = tasksHere.explain(task) as Outcome<PageVerdict>;
  if (outcome.ok) return outcome.value;
  throw fromFailure(outcome.failure, 0, 'explain');
}

/** Lists the runs of some granules on the thread of the caller. */
export async function listRunsHere(task: ListRunsTask): Promise<ListedRuns> {
  tasksHere ??= (await import(tasksUrl())) as Tasks;
  const outcome = tasksHere.listRuns(task) as Outcome<ListedRuns>;
  if (outcome.ok) return outcome.value;
  throw fromFailure(outcome.failure, 0, 'explain');
}
