/** Freezing a machine: its gate is closed until the freeze ends, under a thread id of its own. */
import { abortSignal, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { ATTACHED } from '../../shared/sync/thread-layout.ts';
import type { MachineParts } from '../mm/machine-parts.ts';

/** A freeze that is in force: no operation on the machine runs until `thaw` is called. */
export interface Freeze {
  /** Ends this freeze. Operations run once no freeze is in force. A second call does nothing. */
  thaw(): void;
  /** The same as `thaw`, for `using`. */
  [Symbol.dispose](): void;
}

/** Options of `freeze`. */
export interface FreezeOptions {
  /** Ends the wait: `freeze` rejects with AbortError, and the machine is not frozen. */
  readonly signal?: AbortSignal | undefined;
}

export const FREEZE_OPTIONS: Shape<FreezeOptions> = { signal: optional(abortSignal) };

/**
 * Closes the gate, and resolves once no operation is inside. Rejects with AbortError if `signal`
 * fires during the wait, and with TOO_MANY_THREADS.
 */
export async function freezeMachine(
  parts: MachineParts,
  signal: AbortSignal | undefined,
): Promise<Freeze> {
  const { threads, gate, queue } = parts;
  // An id of kind ATTACHED, since `close` waits for operations, but not for a freeze.
  const [thread] = (await queue.take(1, signal, ATTACHED)) as [number];
  try {
    await gate.freeze(thread, signal);
  } catch (error) {
    threads.release(thread);
    throw error;
  }
  let frozen = true;
  const thaw = (): void => {
    if (!frozen) return;
    frozen = false;
    gate.thaw(thread);
    threads.release(thread);
  };
  return { thaw, [Symbol.dispose]: thaw };
}
