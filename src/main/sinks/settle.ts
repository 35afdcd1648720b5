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

/** One error for two failures of an undo: whoever has to clean up by hand needs to know of both. */
export function joined(first: unknown, second: unknown): unknown {
  if (!(first instanceof MmdumpError)) return first;
  const { code, message, fields } = first;
  return new MmdumpError(code, `${message}; ${reasonOf(second)}`, fields, first);
}
