/** The jobs of a dumper, which run one after the other. */
import { MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { abortable, type Deadline, type JobOptions, withDeadline } from './stop.ts';

export class JobQueue {
  /** Called when a job joins the queue. */
  readonly #onJob: () => void;
  /** Settles when the jobs so far have ended. It never rejects. */
  #last: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(onJob: () => void) {
    this.#onJob = onJob;
  }

  /**
   * Runs a job after the jobs before it. Its deadline counts from this call, and `phase` is the
   * phase in which the job begins. The job has to heed the signal of the deadline, and to tell it
   * later phases. Rejects with DUMPER_CLOSED after `close`.
   */
  run<T>(options: JobOptions, phase: string, job: (deadline: Deadline) => Promise<T>): Promise<T> {
    return withDeadline(options, 'queue', (deadline) =>
      this.#enqueue(async () => {
        throwIfAborted(deadline.signal);
        deadline.phase = phase;
        return await job(deadline);
      }, deadline.signal),
    );
  }

  /** Takes no more jobs, and calls `end` after those that are queued, the first time only. */
  close(end: () => Promise<void>): Promise<void> {
    this.#closed ??= this.#last.then(end);
    return this.#closed;
  }

  /** Queues a job. When `signal` fires, the job no longer waits for the jobs before it. */
  async #enqueue<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed !== undefined) throw new MmdumpError('DUMPER_CLOSED', 'the dumper was closed');
    const before = this.#last;
    this.#onJob();
    const mine = abortable(before, signal).then(job); // `before` never rejects
    // A job that was aborted in the queue ends earlier than the jobs before it, so the next job has
    // to wait for `before` as well. The queue must not keep a result alive.
    this.#last = mine.then(
      () => {},
      () => before,
    );
    return mine;
  }
}
