/**
 * How an asynchronous operation enters the machine: through the gate, under thread ids of its own.
 *
 * It has no id while it waits at the closed gate. Operations that freeze the machine need ids to go
 * on, and would otherwise wait for this one (`shared/sync/thread-queue.ts`).
 */
import type { MachineParts } from './machine-parts.ts';

/**
 * Resolves with `count` new thread ids, the first of which is inside the gate. The caller leaves
 * the gate and releases the ids. Rejects with AbortError when `signal` fires before,
 * TOO_MANY_THREADS when attached threads leave too few ids, or MACHINE_CLOSED.
 */
export async function enterAsOperation(
  machine: MachineParts,
  count: number,
  signal?: AbortSignal,
): Promise<readonly number[]> {
  const { gate, queue } = machine;
  for (;;) {
    await gate.whenOpen(signal);
    const ids = await queue.take(count, signal);
    let isInside = false;
    try {
      isInside = gate.tryEnter(ids[0]!);
    } finally {
      if (!isInside) releaseAll(machine, ids);
    }
    if (isInside) return ids;
  }
}

/** Gives back ids that hold no lock and no place in the gate. */
export function releaseAll({ threads }: MachineParts, ids: readonly number[]): void {
  for (const id of ids) threads.release(id);
}
