/**
 * Reclaiming memory when no frame is free (direct reclaim, mm/vmscan.c). The thread that needs a
 * frame has left its mm and holds no lock; it runs its operation again afterwards. So reclaim holds
 * one mm after the other, like any operation, and needs no exception from the lock order.
 */
import { errnoOf } from '../../shared/errors.ts';
import { wouldBlock } from '../../shared/sync/would-block.ts';
import { type CacheContext, cacheContext, putFile } from '../files/page-cache.ts';
import { shrinkCache } from '../files/write-back.ts';
import { holdGate, holdMm, lockMmAsync, type MmReference, passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { type Mm, mmOf } from '../mm/mm.ts';
import { MmStruct } from '../mm/mm-struct.ts';
import { type Pressure, reclaimMm } from '../swap/swap-out.ts';

/** Frames that a reclaim tries to free by default: often enough for a burst of faults. */
const BATCH = 64;

/** The result of a reclaim. */
export interface Reclaimed {
  /** Frames that were freed. */
  readonly freed: number;
  /** Whether something busy was skipped, so that a later reclaim may free more. */
  readonly passedOver: boolean;
}

/** A step of a reclaim, which takes either the page caches or one mm. */
type Step = 'caches' | { readonly slot: number; readonly pressure: Pressure };

/** The frames that a reclaim still has to free. */
interface Want {
  missing: number;
}

/**
 * Yields the steps of a reclaim: unmapped pages of files first, then pages of all mms that were not
 * accessed since the last scan, then any pages. Page caches follow each round over the mms, since
 * reclaim has unmapped pages of files.
 */
function* stepsOf(machine: MachineParts, want: Want): Generator<Step> {
  yield 'caches';
  for (const sparesAccessed of [true, false]) {
    for (let mms = 0; mms < machine.maxAddressSpaces && want.missing > 0; mms++) {
      const pressure = { wanted: want.missing, sparesAccessed };
      yield { slot: machine.nextReclaimSlot(), pressure };
      want.missing = pressure.wanted;
    }
    if (want.missing > 0) yield 'caches';
  }
}

/**
 * Tries to free `wanted` frames. `thread` holds no lock and is outside the gate. If it must not
 * block, whatever is busy is skipped.
 */
export function reclaimFrames(
  machine: MachineParts,
  thread: number,
  wanted: number = BATCH,
): Reclaimed {
  const before = machine.allocator.freeFrames;
  const want = { missing: wanted };
  let passedOver = false;
  for (const step of stepsOf(machine, want)) {
    try {
      if (step === 'caches') {
        holdGate(machine, thread, () => shrinkCaches(machine, thread, want));
      } else {
        const mm = livingMm(machine, step.slot, thread);
        if (mm === undefined) continue;
        holdMm(mm.mm, mm.reference, 'read', (held) => reclaimMm(held, step.pressure));
      }
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'EAGAIN') passedOver = true;
      else if (code !== 'MM_GONE') throw error;
    }
  }
  return { freed: freedFrames(machine, wanted, want, before), passedOver };
}

/**
 * The reclaim that a user asks for. Throws EAGAIN if nothing could be freed because something was
 * busy.
 */
export function reclaim(machine: MachineParts, wanted: number): number {
  const { freed, passedOver } = reclaimFrames(machine, machine.thread, wanted);
  if (freed === 0 && passedOver) throw wouldBlock('an address space that could give memory back');
  return freed;
}

/** The asynchronous twin of `reclaim`, which waits. Rejects with AbortError if `signal` fires. */
export async function reclaimAsync(
  machine: MachineParts,
  wanted: number,
  signal?: AbortSignal,
): Promise<number> {
  const before = machine.allocator.freeFrames;
  const want = { missing: wanted };
  for (const step of stepsOf(machine, want)) {
    const run = async (thread: number): Promise<void> => {
      if (step === 'caches') shrinkCaches(machine, thread, want);
      else await reclaimSlotAsync(machine, thread, step.slot, step.pressure, signal);
    };
    await passGateAsync(machine, run, signal);
  }
  return freedFrames(machine, wanted, want, before);
}

/** Reclaims from the mm in a slot, if there is one. The thread is inside the gate. */
async function reclaimSlotAsync(
  machine: MachineParts,
  thread: number,
  slot: number,
  pressure: Pressure,
  signal: AbortSignal | undefined,
): Promise<void> {
  const mm = livingMm(machine, slot, thread);
  if (mm === undefined) return;
  const run = (held: Mm): void => reclaimMm(held, pressure);
  await lockMmAsync(mm.mm, mm.reference, 'read', run, signal).catch((error: unknown) => {
    if (errnoOf(error) !== 'MM_GONE') throw error;
  });
}

/**
 * Returns the frames that were freed. Other threads may have freed frames in the meantime, or taken
 * those that were freed here, so the larger of the two counts is used.
 */
function freedFrames(machine: MachineParts, wanted: number, want: Want, before: number): number {
  return Math.max(wanted - want.missing, machine.allocator.freeFrames - before, 0);
}

/** Returns the mm in a slot and a reference to this life of the slot, or undefined. */
function livingMm(
  machine: MachineParts,
  slot: number,
  thread: number,
): { readonly mm: Mm; readonly reference: MmReference } | undefined {
  const struct = new MmStruct(machine.mmWords, slot);
  const { generation } = struct; // read first: what is read later is of this life or a later one
  if (!struct.isLive || struct.isSnapshot) return undefined;
  return { mm: mmOf(machine, slot, thread), reference: { machine, slot, generation } };
}

/** Frees unmapped pages of files from their page caches. The thread is inside the gate. */
function shrinkCaches(machine: MachineParts, thread: number, want: Want): void {
  const { files } = machine;
  const context = cacheContext(machine, thread);
  for (let id = 1; id <= files.highWater && want.missing > 0; id++) {
    if (files.cachePages(id) === 0) continue; // as in most files; cheaper than taking a reference
    // The reference keeps the file, and its id cannot be given to another file.
    if (!files.tryGet(id)) continue;
    want.missing -= shrinkFile(context, id, want.missing);
    putFile(context, id);
  }
}

function shrinkFile(context: CacheContext, id: number, wanted: number): number {
  const { files, thread } = context;
  const lock = files.lock(id);
  if (!lock.tryLock(thread)) return 0; // busy, for instance reading a page in: skip this file
  try {
    return shrinkCache(context, id, wanted);
  } finally {
    lock.unlock(thread);
  }
}
