/**
 * Stops jobs. The caller's signal and the time-out become one AbortSignal, so code that heeds one
 * of them heeds both. The coordinator contributes two things: it gives up waiting (`abortable`),
 * and it lets the event loop run during long loops (`Yielder`).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortSignal, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { AbortError, MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';

/** Options that every job takes: dump, estimate, restore, verify, compare and import. */
export interface JobOptions {
  /**
   * Stops the job, also while it waits for the jobs before it. The job then rejects with AbortError
   * and leaves nothing behind. A job that cannot undo at once what it did to a machine waits until
   * it can. Default: no signal.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds that the job may take, more than 0 and at most 2^31 - 1. They count from the call,
   * so waiting for other jobs is included. Then the job stops as it does by `signal`, and rejects
   * with TIMEOUT, which names the phase. Default: no limit.
   */
  readonly timeoutMs?: number | undefined;
}

/** Longest delay of a timer in Node, in milliseconds. */
const LONGEST_MS = 2 ** 31 - 1;

/** The reason of a signal that a time-out has fired, of this job or of a job around it. */
class TimedOut extends Error {
  override readonly name = 'TimedOut';
  readonly ms: number;

  constructor(ms: number) {
    super(`timed out after ${ms} ms`);
    this.ms = ms;
  }
}

/** Tells a job under `withDeadline` when to stop (`signal`); the job tells it how far it is. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  /** The current step of the job, for the message. */
  phase: string;

  constructor(signal: AbortSignal | undefined, phase: string) {
    this.signal = signal;
    this.phase = phase;
  }

  /** The error to reject with: an abort that a time-out has caused becomes TIMEOUT. */
  errorOf(error: unknown): unknown {
    const reason: unknown = this.signal?.reason;
    if (!(error instanceof AbortError) || !(reason instanceof TimedOut)) return error;
    const { phase } = this;
    const { ms } = reason;
    const message = `timed out after ${ms} ms, phase: ${phase}`;
    // `error` is the cause, since its own cause may be a failed undo.
    return new MmdumpError('TIMEOUT', message, { phase, ms }, error);
  }
}

/**
 * Runs `job` with a deadline, whose signal fires when the caller's signal does or when the time is
 * over. The time runs from this call.
 *
 * Preconditions: JOB_OPTIONS has checked the options.
 */
export async function withDeadline<T>(
  { signal, timeoutMs }: JobOptions,
  phase: string,
  job: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  if (timeoutMs === undefined) return await runUnder(new Deadline(signal, phase), job);
  const either = new AbortController();
  const stop = (): void => either.abort(signal?.reason);
  const timer = setTimeout(() => either.abort(new TimedOut(timeoutMs)), timeoutMs);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted === true) stop();
  try {
    return await runUnder(new Deadline(either.signal, phase), job);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

async function runUnder<T>(
  deadline: Deadline,
  job: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  try {
    return await job(deadline);
  } catch (error) {
    throw deadline.errorOf(error);
  }
}

/** The options that every job has. */
export const JOB_OPTIONS: Shape<JobOptions> = {
  signal: optional(abortSignal),
  timeoutMs: optional(timeoutMs),
};

/** Checks a time-out: milliseconds, as a timer of Node takes them. OPTION_INVALID. */
function timeoutMs(what: string, ms: unknown): number {
  if (typeof ms === 'number' && ms > 0 && ms <= LONGEST_MS) return ms;
  throw refusal(what, ms, `milliseconds, more than 0 and at most ${LONGEST_MS}`);
}

/**
 * Settles as `promise` does, but rejects with AbortError as soon as the signal fires. Work that
 * cannot be interrupted then goes on by itself, and its outcome is ignored.
 */
export async function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return await promise;
  let stop = (): void => {};
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new AbortError(signal.reason));
  });
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Steps between two looks at the clock. */
const STEPS = 128;
/** Milliseconds after which a loop yields. */
const STRETCH_MS = 10;

/**
 * Makes a long loop of the coordinator yield to the event loop about every 10 ms, so that timers,
 * signals and progress can run: `if (yielder.isDue()) await yielder.yield();`
 */
export class Yielder {
  readonly signal: AbortSignal | undefined;
  #steps = 0;
  #since = performance.now();

  constructor(signal: AbortSignal | undefined) {
    this.signal = signal;
  }

  /** Whether to yield now. It is called once per step, which may take some microseconds. */
  isDue(): boolean {
    if (++this.#steps < STEPS) return false;
    this.#steps = 0;
    return performance.now() - this.#since >= STRETCH_MS;
  }

  /** Yields. AbortError if the signal has fired. */
  async yield(): Promise<void> {
    await nextTurn();
    throwIfAborted(this.signal);
    this.#since = performance.now();
  }
}
