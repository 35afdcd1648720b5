/**
 * The way of an asynchronous operation into the machine: through the gate, under ids of its own.
 *
 * While it waits at the closed gate it has no id: those who freeze the machine need some, and would
 * wait for it (`shared/sync/thread-queue.ts`).
 */
import type { MachineParts } from './machine-parts.ts';

/** Resolves with `count` new ids, the first of which is inside the gate. AbortError when `signal` fires. */
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

/** Gives ids back that hold nothing. */
export function releaseAll({ threads }: MachineParts, ids: readonly number[]): void {
  for (const id of ids) threads.release(id);
}
