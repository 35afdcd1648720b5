/**
 * The worker threads of a dumper, and how a phase runs on them: one long task per worker, all of
 * them settled before the phase is over. A task that fails, or whose thread is lost, stops the
 * others at their next claim; nothing waits for it.
 */
import { Piscina } from 'piscina';
import type { PhaseControl } from '../shared/dump/phase-control.ts';
import type { PhaseReport, PhaseTask } from '../shared/dump/tasks.ts';
import {
  type Failure,
  fromFailure,
  MmdumpError,
  type Outcome,
  reasonOf,
  toFailure,
  workerLost,
} from '../shared/errors.ts';
import type { FaultPlan, PhaseName } from '../shared/faults.ts';
import { throwIfAborted } from '../shared/sync/wait.ts';

/** Module of src/workers and the task that it exports. */
export interface TaskName {
  readonly file: string;
  readonly name: PhaseName;
}

export interface PhaseOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times a second while the phase runs, and once at its end. */
  readonly onProgress?: ((done: PhaseProgress) => void) | undefined;
  /** A worker's thread is gone, others may be waiting for what it held. */
  readonly onLost?: (worker: number) => void;
}

/** What tests ask of a pool: see `DumperOptions`. */
export interface PoolTests {
  readonly rendezvous: boolean;
  readonly faults: FaultPlan | undefined;
}

/** What the workers have done so far in this phase. */
export interface PhaseProgress {
  readonly units: number;
  readonly pages: number;
  readonly bytes: number;
}

const PROGRESS_MS = 100;
/** Of the threads of tests: to fill a heap of the usual size takes seconds. */
const LITTLE_HEAP = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 } as const;
/** Worker threads of one dumper; a machine has room for 256 threads in all. */
export const WORKERS_MAX = 128;

export class WorkerPool {
  readonly workers: number;
  readonly #pool: Piscina;
  readonly #tests: PoolTests;

  constructor(workers: number, tests: PoolTests) {
    this.workers = workers;
    this.#tests = tests;
    this.#pool = new Piscina({
      minThreads: workers,
      maxThreads: workers,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
      ...(tests.faults && { resourceLimits: LITTLE_HEAP }),
    });
    // A thread may be lost between two tasks, too. There is another then, and nobody to be told.
    this.#pool.on('error', () => {});
  }

  /** Runs one task per element and resolves with the reports, by worker. */
  async runPhase<T extends PhaseTask, R extends PhaseReport = PhaseReport>(
    task: TaskName,
    tasks: readonly T[],
    control: PhaseControl,
    options: PhaseOptions = {},
  ): Promise<R[]> {
    const { signal } = options;
    const stop = (): void => control.stop();
    throwIfAborted(signal);
    signal?.addEventListener('abort', stop, { once: true });
    const watch = new ProgressWatch(control, options.onProgress);
    const filename = new URL(`../workers/${task.file}.js`, import.meta.url).href;
    try {
      const settled = await Promise.all(
        this.#withTests(tasks, task.name).map((message) =>
          this.#runTask<R>(message, filename, task.name, control, options),
        ),
      );
      throwIfAborted(signal);
      watch.finish();
      return collect(settled, task.name, control);
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

  /** The outcome of one task. A lost thread is an outcome, too. */
  async #runTask<R extends PhaseReport>(
    message: PhaseTask,
    filename: string,
    name: string,
    control: PhaseControl,
    { onLost }: PhaseOptions,
  ): Promise<Outcome<R>> {
    try {
      return await this.#pool.run(message, { filename, name });
    } catch (error) {
      control.stop();
      const { worker } = message;
      onLost?.(worker);
      const unit = control.claimedBy(worker);
      const lost = workerLost('was lost', worker, name, unit, reasonOf(error));
      return { ok: false, failure: toFailure(lost) };
    }
  }

  async close(): Promise<void> {
    await this.#pool.close({ force: true });
    await this.#pool.destroy();
  }
}

/**
 * Tells somebody how far a phase is. What they throw stops the phase and becomes its error: thrown
 * from a timer it would end the process.
 */
class ProgressWatch {
  readonly #control: PhaseControl;
  readonly #onProgress: PhaseOptions['onProgress'];
  readonly #timer: NodeJS.Timeout | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(control: PhaseControl, onProgress: PhaseOptions['onProgress']) {
    this.#control = control;
    this.#onProgress = onProgress;
    if (onProgress !== undefined) this.#timer = setInterval(() => this.#tell(), PROGRESS_MS);
  }

  #tell(): void {
    if (this.#failure !== undefined) return;
    try {
      this.#onProgress?.(totalOf(this.#control));
    } catch (error) {
      this.#failure = { error };
      this.#control.stop();
    }
  }

  /** Tells the final state; throws what the listener has thrown, now or before. */
  finish(): void {
    this.#tell();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  stop(): void {
    clearInterval(this.#timer);
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

function totalOf(control: PhaseControl): PhaseProgress {
  let units = 0;
  let pages = 0;
  let bytes = 0;
  for (let worker = 0; worker < control.workers; worker++) {
    const done = control.progressOf(worker);
    units += done.units;
    pages += done.pages;
    bytes += done.bytes;
  }
  return { units, pages, bytes };
}

/** OPTION_INVALID unless `workers` is a sensible number of threads. */
export function assertWorkers(workers: number): void {
  if (Number.isSafeInteger(workers) && workers >= 1 && workers <= WORKERS_MAX) return;
  throw new MmdumpError('OPTION_INVALID', `workers: ${workers}: expected 1 to ${WORKERS_MAX}`);
}
