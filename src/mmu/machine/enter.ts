/**
 * How every operation on an mm runs: it holds the mm (`hold.ts`), and runs again where that mends
 * what stopped it: no frame was free (memory is reclaimed in between, while no lock is held), or
 * the stack has to grow (with the mmap lock for writing). An operation that may be run again either
 * changes nothing before it fails, or does again what it did, or keeps its progress.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { type LockMode, wouldBlock } from '../../shared/sync/rw-lock.ts';
import { StackGrowth } from '../arguments/signal.ts';
import type { Progress } from '../fault/access.ts';
import { populateLocked } from '../fault/populate.ts';
import { holdMm, holdMmInside, type MmReference } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { type Mm, mmOf, type Populate } from '../mm/mm.ts';
import { enterAsOperation } from '../mm/operation.ts';
import { NO_FRAMES } from '../physical/frame-allocator.ts';
import { reclaimFrames } from './memory-pressure.ts';

export type { MmReference } from '../mm/hold.ts';

/** Runs `operation` on the mm. EAGAIN where this thread would have to wait and must not. */
export function runOn<T>(
  mm: Mm,
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
): T {
  mm.toPopulate.length = 0;
  try {
    for (let wanted = mode; ; ) {
      try {
        return holdMm(mm, reference, wanted, operation);
      } catch (error) {
        if (error instanceof StackGrowth) wanted = 'write';
        else mendOrThrow(mm.machine, mm.thread, error);
      }
    }
  } finally {
    mm.cursor.letGo();
    for (const populate of populations(mm.toPopulate)) {
      ignoreFailure(() => runOn(mm, reference, 'read', populate));
    }
  }
}

/** The asynchronous twin: waits without blocking. Rejects with AbortError when `signal` fires. */
export async function runOnAsync<T>(
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
  signal?: AbortSignal,
): Promise<T> {
  const toPopulate: Populate[] = [];
  try {
    for (let wanted = mode; ; ) {
      const outcome = await attempt(reference, { mode: wanted, operation, toPopulate, signal });
      if (outcome === 'wants to write') wanted = 'write';
      else if (outcome === 'has to wait') await nextTurn();
      else if (outcome !== 'mended') return outcome.value;
    }
  } finally {
    // Each under an id of its own: the operation's is given back.
    for (const populate of populations(toPopulate)) {
      await runOnAsync(reference, 'read', populate).catch(ignoreOurs);
    }
  }
}

interface Wanted<T> {
  readonly mode: LockMode;
  readonly operation: (mm: Mm) => T;
  /** Is added to. */
  readonly toPopulate: Populate[];
  readonly signal: AbortSignal | undefined;
}

/** What became of one attempt; it may be made again unless there is a value. */
type Attempt<T> = { readonly value: T } | 'wants to write' | 'mended' | 'has to wait';

/** Runs the operation once, under a thread id of its own, which it has no longer than it needs it. */
async function attempt<T>(reference: MmReference, wanted: Wanted<T>): Promise<Attempt<T>> {
  const { machine, slot } = reference;
  const { signal } = wanted;
  const endTurn = await machine.mmTurns.take(slot, signal);
  try {
    const [thread] = (await enterAsOperation(machine, 1, signal)) as [number];
    return await attemptAs(thread, reference, wanted);
  } finally {
    endTurn();
  }
}

async function attemptAs<T>(
  thread: number,
  reference: MmReference,
  { mode, operation, toPopulate, signal }: Wanted<T>,
): Promise<Attempt<T>> {
  const { machine, slot } = reference;
  const mm = mmOf(machine, slot, thread);
  try {
    return { value: await holdMmInside(mm, reference, mode, operation, signal) };
  } catch (error) {
    if (error instanceof StackGrowth) return 'wants to write';
    if (isBusy(error)) return 'has to wait';
    return isMended(machine, thread, error) ? 'mended' : 'has to wait';
  } finally {
    toPopulate.push(...mm.toPopulate);
    machine.threads.release(thread);
  }
}

/**
 * What is to be faulted in after an operation that changed mappings, also where it failed at last:
 * mprotect has changed what precedes the hole it stopped at. Not under the operation's lock: should
 * memory have to be reclaimed for it, the operation must not run again, since it is done.
 */
function populations(ranges: readonly Populate[]): ((mm: Mm) => void)[] {
  return ranges.map(({ from, to }) => {
    const progress: Progress = { done: 0 };
    return (later) => void populateLocked(later, from, to, true, progress);
  });
}

/** The mapping is there, populated or not: as in Linux the call succeeds. */
function ignoreFailure(populate: () => void): void {
  try {
    populate();
  } catch (error) {
    ignoreOurs(error);
  }
}

function ignoreOurs(error: unknown): void {
  if (!(error instanceof MmdumpError)) throw error;
}

/** A file's lock was taken by another thread: nothing is half-done that doing it again won't mend. */
function isBusy(error: unknown): boolean {
  return error instanceof MmdumpError && error.code === 'EAGAIN';
}

/** Runs an action that holds no lock when it fails; again when memory could be reclaimed for it. */
export function retryAfterReclaim<T>(machine: MachineParts, action: () => T): T {
  for (;;) {
    try {
      return action();
    } catch (error) {
      mendOrThrow(machine, machine.thread, error);
    }
  }
}

/**
 * Runs a change of the machine that belongs to no mm, such as a new address space, inside the freeze
 * gate and under a thread id of its own. It runs again when memory could be reclaimed for it, so it
 * changes nothing before it fails. Waits without blocking; AbortError when `signal` fires.
 */
export async function runInGateAsync<T>(
  machine: MachineParts,
  change: (thread: number) => T,
  signal?: AbortSignal,
): Promise<T> {
  for (;;) {
    const [thread] = (await enterAsOperation(machine, 1, signal)) as [number];
    try {
      return holdInside(machine, thread, change);
    } catch (error) {
      if (isBusy(error) || !isMended(machine, thread, error)) await nextTurn();
    } finally {
      machine.threads.release(thread);
    }
  }
}

/** Runs the change, and leaves the gate. */
function holdInside<T>(machine: MachineParts, thread: number, change: (thread: number) => T): T {
  try {
    return change(thread);
  } finally {
    machine.gate.leave(thread);
  }
}

/** Whether memory could be reclaimed; false when that has to wait for others. Else throws. */
function isMended(machine: MachineParts, thread: number, error: unknown): boolean {
  try {
    mendOrThrow(machine, thread, error);
    return true;
  } catch (failure) {
    if (isBusy(failure)) return false;
    throw failure;
  }
}

/** Reclaims memory if that is what was missing and any can be had; else throws the error. */
function mendOrThrow(machine: MachineParts, thread: number, error: unknown): void {
  const isFrames = error instanceof MmdumpError && error.fields.reason === NO_FRAMES;
  if (!isFrames) throw error;
  const { freed, passedOver } = reclaimFrames(machine, thread);
  if (freed > 0) return;
  throw passedOver ? wouldBlock('an address space that could give memory back') : error;
}
