/**
 * Stopping work: the caller's signal and a time-out as one AbortSignal, so that whoever heeds the
 * one heeds the other; and the two things that the coordinator does for it: it gives up waiting, and
 * it gives others their turn in loops that last.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortSignal, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { AbortError, MmdumpError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';

/** What every job takes: dump, estimate, restore, verify, compare and import. */
export interface JobOptions {
  /**
   * Stops the job, also while it waits for the jobs before it: it rejects with AbortError and leaves
   * nothing behind. A job that cannot undo at once what it did to a machine waits until it can.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Milliseconds from the call on, more than 0, waiting for other jobs included: then the job stops as
   * by `signal`, and rejects with TIMEOUT, which names the phase.
   */
  readonly timeoutMs?: number | undefined;
}

/** Longest time of a timer in Node. */
const LONGEST_MS = 2 ** 31 - 1;

/** Why a signal fired: a time-out, of this job or of one around it. */
class TimedOut extends Error {
  override readonly name = 'TimedOut';
  readonly ms: number;

  constructor(ms: number) {
    super(`timed out after ${ms} ms`);
    this.ms = ms;
  }
}

/** What a job under `withDeadline` knows: when to stop. What it says: how far it is. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  /** The step at hand, for the message. */
  phase: string;

  constructor(signal: AbortSignal | undefined, phase: string) {
    this.signal = signal;
    this.phase = phase;
  }

  /** What to reject with: an abort that a time-out has caused is TIMEOUT, all else as it is. */
  errorOf(error: unknown): unknown {
    const reason: unknown = this.signal?.reason;
    if (!(error instanceof AbortError) || !(reason instanceof TimedOut)) return error;
    const { phase } = this;
    const { ms } = reason;
    const message = `timed out after ${ms} ms, phase: ${phase}`;
    return new MmdumpError('TIMEOUT', message, { phase, ms }, error); // its cause may be a failed undo
  }
}

/**
 * Runs `job` until it ends, the signal fires or the time is over, whichever is first. The time runs
 * from this call on. OPTION_INVALID for a time that is none.
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

/** A time-out: milliseconds, as a timer of Node takes them. */
function timeoutMs(what: string, ms: unknown): number {
  if (typeof ms === 'number' && ms > 0 && ms <= LONGEST_MS) return ms;
  throw refusal(what, ms, `milliseconds, more than 0 and at most ${LONGEST_MS}`);
}

/**
 * Settles as `promise` does, but rejects with AbortError as soon as the signal fires: what cannot be
 * interrupted goes on by itself, and nobody hears what becomes of it.
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
const STRETCH_MS = 10;

/**
 * Lets the event loop go round in a long loop of the coordinator, every 10 ms or so: timers, signals
 * and progress get their turn. `if (turns.isDue()) await turns.next();`
 */
export class Turns {
  readonly signal: AbortSignal | undefined;
  #steps = 0;
  #since = performance.now();

  constructor(signal: AbortSignal | undefined) {
    this.signal = signal;
  }

  /** Call once a step; a step may take some microseconds. */
  isDue(): boolean {
    if (++this.#steps < STEPS) return false;
    this.#steps = 0;
    return performance.now() - this.#since >= STRETCH_MS;
  }

  /** AbortError once the signal has fired. */
  async next(): Promise<void> {
    await nextTurn();
    throwIfAborted(this.signal);
    this.#since = performance.now();
  }
}
