/** Several calls, none of which keeps the others from being made. */
import { MmdumpError, reasonOf } from '../../shared/errors.ts';

/** Waits for all of them; rejects as the first of them that did: the others failed in the same way. */
export async function settleAll(calls: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(calls)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

/** Waits for all of them; rejects with one error that names everything that failed. */
export async function undoAll(calls: readonly Promise<void>[]): Promise<void> {
  const failures = (await Promise.allSettled(calls)).filter(
    (result) => result.status === 'rejected',
  );
  if (failures.length > 0) throw failures.map(({ reason }) => reason as unknown).reduce(joined);
}

/** Does all of it, one step after the other. Rejects with one error that names everything that failed. */
export async function inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures.reduce(joined);
}

/**
 * One error for two failures, the second of them in an undo: somebody who has to clean up needs to know
 * of both. The code is that of the first, unless it has none of ours.
 */
export function joined(first: unknown, second: unknown): unknown {
  if (first instanceof MmdumpError) {
    const { code, message, fields } = first;
    return new MmdumpError(code, `${message}; ${reasonOf(second)}`, fields, first);
  }
  if (!(second instanceof MmdumpError)) return new AggregateError([first, second], reasonOf(first));
  const { code, message, fields } = second;
  return new MmdumpError(code, message, fields, first);
}
