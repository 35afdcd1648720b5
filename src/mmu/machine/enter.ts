/**
 * How every operation on an mm runs. It holds the mm (`hold.ts`), and runs again in two cases:
 *
 * - No frame was free. Memory is reclaimed first, while no lock is held.
 * - The stack has to grow, or a page table is shared with a snapshot (`tables/shared-table.ts`). The
 *   operation then takes the mmap lock for writing.
 *
 * An operation must therefore change nothing before it fails, or be harmless to repeat, or keep its
 * progress.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MmdumpError } from '../../shared/errors.ts';
import type { LockMode } from '../../shared/sync/rw-lock.ts';
import { wouldBlock } from '../../shared/sync/would-block.ts';
import { WantsWriteLock } from '../arguments/signal.ts';
import type { Progress } from '../fault/access.ts';
import { populateRange } from '../fault/populate.ts';
import { holdMm, holdMmInside, type MmReference } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { type Mm, mmOf, type Populate } from '../mm/mm.ts';
import { enterAsOperation } from '../mm/operation.ts';
import { NO_FRAMES } from '../physical/frame-allocator.ts';
import { reclaimFrames } from './memory-pressure.ts';

export type { MmReference } from '../mm/hold.ts';

/**
 * Runs `operation` on the mm. Throws EAGAIN if it would have to wait and this thread must not
 * block.
 */
export function runOn<T>(
  mm: Mm,
  reference: MmReference,
  mode: LockMode,
  operation: (mm: Mm) => T,
): T {
  if (mm.toPopulate.length > 0) mm.toPopulate.length = 0; // setting it is a call, and rarely due
  try {
    for (let wanted = mode; ; ) {
      try {
        return holdMm(mm, reference, wanted, operation);
      } catch (error) {
        if (error instanceof WantsWriteLock) wanted = 'write';
        else mendOrThrow(mm.machine, mm.thread, error);
      }
    }
  } finally {
    mm.cursor.dropViews();
    if (mm.toPopulate.length > 0) {
      for (const populate of populations(mm.toPopulate)) {
        ignoreFailure(() => runOn(mm, reference, 'read', populate));
      }
    }
    mm.machine.faults.tell();
  }
}

/**
 * The asynchronous twin of `runOn`, which waits without blocking. Rejects with AbortError if
 * `signal` fires during a wait.
 */
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
    // Each runs under a thread id of its own, since the operation has given its id back.
    for (const populate of populations(toPopulate)) {
      await runOnAsync(reference, 'read', populate).catch(ignoreOurs);
    }
    reference.machine.faults.tell();
  }
}

/** What an attempt has to run. */
interface Wanted<T> {
  readonly mode: LockMode;
  readonly operation: (mm: Mm) => T;
  /** The attempt adds the ranges that are to be faulted in afterwards. */
  readonly toPopulate: Populate[];
  readonly signal: AbortSignal | undefined;
}

/** The outcome of one attempt. Without a value the operation must be attempted again. */
type Attempt<T> = { readonly value: T } | 'wants to write' | 'mended' | 'has to wait';

/** Runs the operation once, under a thread id that is given back at the end of the attempt. */
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
    if (error instanceof WantsWriteLock) return 'wants to write';
    if (isBusy(error)) return 'has to wait';
    return isMended(machine, thread, error) ? 'mended' : 'has to wait';
  } finally {
    toPopulate.push(...mm.toPopulate);
    machine.threads.release(thread);
  }
}

/**
 * Returns the steps that fault pages in after an operation that changed mappings (mm_populate).
 * They follow an operation that failed, too: mprotect has changed the mappings before the hole at
 * which it stopped. They are operations of their own, since a step runs again after a reclaim, and
 * the operation before it must not run twice.
 */
function populations(ranges: readonly Populate[]): ((mm: Mm) => void)[] {
  return ranges.map(({ from, to }) => {
    const progress: Progress = { done: 0 };
    return (later) => void populateRange(later, from, to, true, progress);
  });
}

/** Populates, and ignores a failure: as in Linux, the call that made the mapping succeeds. */
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

/** Whether another thread holds a lock, for instance a file's. The operation can then run again. */
function isBusy(error: unknown): boolean {
  return error instanceof MmdumpError && error.code === 'EAGAIN';
}

/**
 * Runs `action`, and again after each reclaim that it needs. It must hold no lock when it throws.
 */
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
 * Runs a change of the machine that belongs to no mm, such as a new address space, inside the
 * freeze gate and under a thread id of its own. It runs again after each reclaim that it needs, so
 * it must change nothing before it fails. Waits without blocking. Rejects with AbortError if
 * `signal` fires during a wait.
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

/** Runs the change for a thread that is inside the gate, and leaves the gate. */
function holdInside<T>(machine: MachineParts, thread: number, change: (thread: number) => T): T {
  try {
    return change(thread);
  } finally {
    machine.gate.leave(thread);
  }
}

/**
 * Returns true if memory was reclaimed for an operation that failed with `error`, and false if the
 * operation has to wait for other threads. Throws `error` if a reclaim does not help.
 */
export function isMended(machine: MachineParts, thread: number, error: unknown): boolean {
  try {
    mendOrThrow(machine, thread, error);
    return true;
  } catch (failure) {
    if (isBusy(failure)) return false;
    throw failure;
  }
}

/**
 * Reclaims memory if `error` says that no frame was free. Throws `error` if it says anything else,
 * or if nothing could be reclaimed; throws EAGAIN if that was because something was busy.
 */
function mendOrThrow(machine: MachineParts, thread: number, error: unknown): void {
  const isFrames = error instanceof MmdumpError && error.fields.reason === NO_FRAMES;
  if (!isFrames) throw error;
  const { freed, passedOver } = reclaimFrames(machine, thread);
  if (freed > 0) return;
  throw passedOver ? wouldBlock('an address space that could give memory back') : error;
}
