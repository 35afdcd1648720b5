/**
 * Undoes a restore or an import that failed. The machine may be frozen, or a dump may hold an
 * address space, so the undo waits. It cannot be aborted, because what it leaves behind (slots,
 * tables, pages) is lost to the machine for good.
 */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { AbortError, MmdumpError, reasonOf } from '../../shared/errors.ts';

/**
 * Destroys all of `spaces`. An address space that is destroyed already is skipped, and so is one of
 * a poisoned machine, to which nothing can be given back. After all were tried, the first other
 * failure is thrown.
 */
export async function destroySpaces(spaces: readonly AddressSpace[]): Promise<void> {
  let failure: unknown;
  for (const space of spaces) {
    try {
      await space.exitAsync();
    } catch (error) {
      const isNothingLeft = error instanceof MmdumpError && NOTHING_LEFT.has(error.code);
      if (!isNothingLeft) failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

const NOTHING_LEFT: ReadonlySet<string> = new Set(['MM_GONE', 'MACHINE_POISONED']);

/**
 * Runs the undo of a job that failed with `error`. Returns the error that the job has to reject
 * with: `error`, or one of the same kind that says so if the undo has failed as well.
 */
export async function undone(error: unknown, undo: () => Promise<void>): Promise<unknown> {
  try {
    await undo();
    return error;
  } catch (failure) {
    const left = `some of what it had loaded could not be given back: ${reasonOf(failure)}`;
    if (error instanceof MmdumpError) {
      return new MmdumpError(error.code, `${error.message}; ${left}`, error.fields, failure);
    }
    if (error instanceof AbortError) return new AbortError(new Error(left, { cause: failure }));
    return new Error(`${reasonOf(error)}; ${left}`, { cause: error });
  }
}
