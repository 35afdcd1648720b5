/** Waits for several calls, each of which is made even if others fail. */
import { MmdumpError, reasonOf } from '../../shared/errors.ts';

/** Waits for all calls. Rejects with the first failure of the list: the others are of its kind. */
export async function settleAll(calls: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(calls)) {
    if (result.status === 'rejected') throw result.reason;
  }
}

/** Waits for all calls. Rejects with one error that names every failure. */
export async function undoAll(calls: readonly Promise<void>[]): Promise<void> {
  const failures = (await Promise.allSettled(calls)).filter(
    (result) => result.status === 'rejected',
  );
  if (failures.length > 0) throw failures.map(({ reason }) => reason as unknown).reduce(joined);
}

/** Runs all steps, one after the other. Rejects with one error that names every failure. */
export async function inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures.reduce(joined);
}

/**
 * Makes one error of two failures, the second of which happened in an undo: a user who has to clean
 * up needs to know both. The code is that of the first failure if it is an MmdumpError, else that
 * of the second. If neither is one, the result is an AggregateError.
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
