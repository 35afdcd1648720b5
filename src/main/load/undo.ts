/**
 * Undoing a restore or an import that failed. Both may find the machine frozen, or an address space
 * held by a dump, so the undo waits; and it cannot be aborted, since what it leaves behind (slots,
 * tables, pages) is lost to the machine for good.
 */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { AbortError, MmdumpError, reasonOf } from '../../shared/errors.ts';

/**
 * Destroys every one of them. Those that somebody else has destroyed are passed over, and so is all
 * of a poisoned machine, of which nothing can be had back. Any other failure is thrown once all were
 * tried.
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
 * Runs the undo of a job that failed with `error`, and returns what the job has to reject with: the
 * error, or, where the undo failed as well, one of the same kind that says so.
 */
export async function undone(error: unknown, undo: () => Promise<void>): Promise<unknown> {
  try {
    await undo();
    return error;
  } catch (failure) {
    const left = `not everything that it had loaded could be given back: ${reasonOf(failure)}`;
    if (error instanceof MmdumpError) {
      return new MmdumpError(error.code, `${error.message}; ${left}`, error.fields, failure);
    }
    if (error instanceof AbortError) return new AbortError(new Error(left, { cause: failure }));
    return new Error(`${reasonOf(error)}; ${left}`, { cause: error });
  }
}
