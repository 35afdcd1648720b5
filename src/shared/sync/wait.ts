/**
 * Waiting for a word of shared memory to change. All code waits through these two functions. There
 * are two exceptions: a spin lock yields the processor for 50 µs at a time, and threads that a test
 * holds wait for the test.
 *
 * `Atomics.waitAsync` alone does not keep Node alive: if nothing else is pending, the process ends.
 * So `waitAsync` holds a timer while it waits. No wait is longer than BOUND_MS, and then the waiter
 * looks again. If a thread dies before it sends a wake-up, the waiter is delayed and not lost.
 */
import { AbortError } from '../errors.ts';

/** The longest wait in milliseconds. */
const BOUND_MS = 500;

/** Blocks while the word has the value `seen`, until it is notified. False after BOUND_MS. */
export function waitSync(words: Int32Array, at: number, seen: number): boolean {
  return Atomics.wait(words, at, seen, BOUND_MS) !== 'timed-out';
}

/**
 * Waits like `waitSync` without blocking the thread. Resolves to false after BOUND_MS. Rejects with
 * AbortError when `signal` fires.
 */
export async function waitAsync(
  words: Int32Array,
  at: number,
  seen: number,
  signal?: AbortSignal,
): Promise<boolean> {
  throwIfAborted(signal);
  const wait = Atomics.waitAsync(words, at, seen, BOUND_MS);
  if (!wait.async) return true;
  let stop: (() => void) | undefined;
  let result: 'ok' | 'timed-out' | undefined;
  const alive = setTimeout(() => {}, BOUND_MS * 2);
  try {
    result = await Promise.race([
      wait.value,
      new Promise<undefined>((resolve) => {
        stop = () => resolve(undefined);
        signal?.addEventListener('abort', stop, { once: true });
      }),
    ]);
  } finally {
    clearTimeout(alive);
    if (stop !== undefined) signal?.removeEventListener('abort', stop);
  }
  throwIfAborted(signal);
  return result !== 'timed-out';
}

/** Throws AbortError if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new AbortError(signal.reason);
}

/** Increments a word that threads wait on, and wakes all of them. */
export function wakeAll(words: Int32Array, at: number): void {
  Atomics.add(words, at, 1);
  Atomics.notify(words, at);
}
