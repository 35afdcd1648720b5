/**
 * What happens when no frame is free (direct reclaim, mm/vmscan.c). The thread that needs one has
 * left its mm: it holds no lock, and comes back once there are frames. So reclaim takes the mms one
 * after the other, like any operation, and no lock order has to be bent for it.
 */
import { errnoOf } from '../../shared/errors.ts';
import { wouldBlock } from '../../shared/sync/rw-lock.ts';
import { FILE_KIND } from '../files/file-record.ts';
import { type CacheContext, cacheContext, putFile } from '../files/page-cache.ts';
import { shrinkCacheLocked } from '../files/write-back.ts';
import { holdGate, holdMm, lockMmAsync, type MmReference, passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { type Mm, mmOf } from '../mm/mm.ts';
import { MmStruct } from '../mm/mm-struct.ts';
import { type Pressure, reclaimMm } from '../swap/swap-out.ts';

/** Frames that one reclaim tries to free: often enough for a burst of faults. */
const BATCH = 64;

/** What a reclaim came to. */
export interface Reclaimed {
  /** Frames. */
  readonly freed: number;
  /** Something was busy, and this thread must not wait: there may be more to have. */
  readonly passedOver: boolean;
}

/** A step of a reclaim: the page caches, or one mm. */
type Step = 'caches' | { readonly slot: number; readonly pressure: Pressure };

/** The frames that are still missing. */
interface Want {
  missing: number;
}

/** Unmapped pages of files, then pages that were not accessed lately, then any. */
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
 * Frees up to `wanted` frames. Thread `thread` holds no lock and no place in the gate. What is busy
 * is passed over where the thread must not wait.
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

/** As a call of the user: EAGAIN if nothing could be freed because everything was busy. */
export function reclaim(machine: MachineParts, wanted: number): number {
  const { freed, passedOver } = reclaimFrames(machine, machine.thread, wanted);
  if (freed === 0 && passedOver) throw wouldBlock('what could give memory back');
  return freed;
}

/** The asynchronous twin waits for everybody. AbortError when `signal` fires meanwhile. */
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

/** The mm in a slot, if there is one. The thread is inside the gate. */
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

/** Another thread may have freed frames, or taken those that were freed here. */
function freedFrames(machine: MachineParts, wanted: number, want: Want, before: number): number {
  return Math.max(wanted - want.missing, machine.allocator.freeFrames - before, 0);
}

/** The mm in a slot, and which life of the slot it is; undefined when there is none. */
function livingMm(
  machine: MachineParts,
  slot: number,
  thread: number,
): { readonly mm: Mm; readonly reference: MmReference } | undefined {
  const struct = new MmStruct(machine.mmWords, slot);
  const { generation } = struct; // read first: what is read later belongs to this life or a later one
  if (!struct.isLive) return undefined;
  return { mm: mmOf(machine, slot, thread), reference: { machine, slot, generation } };
}

/** Pages of living files that nobody maps. The thread is inside the gate. */
function shrinkCaches(machine: MachineParts, thread: number, want: Want): void {
  const { files } = machine;
  const context = cacheContext(machine, thread);
  for (let id = 1; id <= files.highWater && want.missing > 0; id++) {
    if (files.cachePages(id) === 0) continue; // most have none, and a reference costs more than a look
    // With a reference nobody else can free the file, nor its slot become another's.
    if (!files.tryGet(id)) continue;
    want.missing -= shrinkFile(context, id, want.missing);
    putFile(context, id);
  }
}

function shrinkFile(context: CacheContext, id: number, wanted: number): number {
  const { files, thread } = context;
  if ((files.kind(id) & (FILE_KIND.MEMORY | FILE_KIND.DELETED)) !== 0) return 0;
  const lock = files.lock(id);
  if (!lock.tryLock(thread)) return 0; // somebody is reading a page in: the next one, then
  try {
    return shrinkCacheLocked(context, id, wanted);
  } finally {
    lock.unlock(thread);
  }
}
