/**
 * The worker threads of a dumper, and how a phase runs on them: one long task per worker, all of
 * them settled before the phase is over. A task that fails, or whose thread is lost, stops the
 * others at their next claim; nothing waits for it.
 */
import { Piscina } from 'piscina';
import type { PhaseControl } from '../shared/dump/phase-control.ts';
import type { PhaseReport, PhaseTask } from '../shared/dump/tasks.ts';
import { fromFailure, MmdumpError, type Outcome, reasonOf } from '../shared/errors.ts';
import { throwIfAborted } from '../shared/sync/wait.ts';
import { type PhaseProgress, type ProgressPace, ProgressWatch } from './progress.ts';

/** Module of src/workers and the task that it exports. */
export interface TaskName {
  readonly file: string;
  readonly name: string;
}

export interface PhaseOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called at most ten times a second while the phase runs, and once at its end. */
  readonly onProgress?: ((done: PhaseProgress) => void) | undefined;
  /** Of a job of several phases: so often at most over all of them. */
  readonly pace?: ProgressPace | undefined;
}

/** Worker threads of one dumper; a machine has room for 256 threads in all. */
export const WORKERS_MAX = 128;

export class WorkerPool {
  readonly workers: number;
  readonly #pool: Piscina;

  constructor(workers: number) {
    this.workers = workers;
    this.#pool = new Piscina({
      minThreads: workers,
      maxThreads: workers,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
    });
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
    const watch = new ProgressWatch(control, options.onProgress, options.pace);
    const filename = new URL(`../workers/${task.file}.js`, import.meta.url).href;
    try {
      const settled = await Promise.all(
        tasks.map((message) => this.#runTask<R>(message, filename, task.name, control)),
      );
      throwIfAborted(signal);
      watch.finish();
      return collect(settled, task.name);
    } finally {
      watch.stop();
      signal?.removeEventListener('abort', stop);
    }
  }

  /** The outcome of one task. A lost thread is an outcome, too. */
  async #runTask<R extends PhaseReport>(
    message: PhaseTask,
    filename: string,
    name: string,
    control: PhaseControl,
  ): Promise<Outcome<R>> {
    try {
      return await this.#pool.run(message, { filename, name });
    } catch (error) {
      control.stop();
      const { worker } = message;
      const text = `worker ${worker} was lost in ${name}: ${reasonOf(error)}`;
      return {
        ok: false,
        failure: { kind: 'mmdump', code: 'WORKER_LOST', message: text, fields: { worker } },
      };
    }
  }

  async close(): Promise<void> {
    await this.#pool.close({ force: true });
    await this.#pool.destroy();
  }
}

/** The reports, or the error of the first worker that failed. */
function collect<R>(outcomes: readonly Outcome<R>[], name: string): R[] {
  const reports: R[] = [];
  outcomes.forEach((outcome, worker) => {
    if (!outcome.ok) throw fromFailure(outcome.failure, worker, name);
    reports.push(outcome.value);
  });
  return reports;
}

/** OPTION_INVALID unless `workers` is a sensible number of threads. */
export function assertWorkers(workers: number): void {
  if (Number.isSafeInteger(workers) && workers >= 1 && workers <= WORKERS_MAX) return;
  throw new MmdumpError('OPTION_INVALID', `workers: ${workers}: expected 1 to ${WORKERS_MAX}`);
}
