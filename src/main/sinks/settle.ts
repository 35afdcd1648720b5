/** Several calls of which the first failure is told, and none keeps the others. */

/** Waits for all of them; rejects as the first of them that did. */
export async function settleAll(calls: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(calls)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

/** Does all of it, one after the other, whatever fails; rejects as the first that did. */
export async function inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}
