/**
 * The only two ways in which anything here waits for a word of shared memory to change.
 *
 * `Atomics.waitAsync` alone does not keep Node alive: with nothing else to do the process just
 * ends. `waitAsync` therefore holds a timer while it waits. No wait is longer than BOUND_MS:
 * waiters look again, so that a wake-up that a dying thread never sent delays them, no more.
 */
import { AbortError } from '../errors.ts';

const BOUND_MS = 500;

/** Blocks while the word still has the value `seen`. False: BOUND_MS have passed. */
export function waitSync(words: Int32Array, at: number, seen: number): boolean {
  return Atomics.wait(words, at, seen, BOUND_MS) !== 'timed-out';
}

/** Resolves when the word differs from `seen`, or is notified. To false: BOUND_MS have passed. */
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

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new AbortError(signal.reason);
}

export function wakeAll(words: Int32Array, at: number): void {
  Atomics.add(words, at, 1);
  Atomics.notify(words, at);
}
