/**
 * What happens when no frame is free (direct reclaim, mm/vmscan.c). The thread that needs one has
 * left its mm: it holds no lock, and comes back once there are frames. So reclaim takes the mms one
 * after the other, like any operation, and no lock order has to be bent for it.
 */
import { errnoOf } from '../../shared/errors.ts';
import { cacheContext } from '../files/file.ts';
import { FILE_KIND } from '../files/file-table.ts';
import { type CacheContext, putFile } from '../files/page-cache.ts';
import { shrinkCacheLocked } from '../files/write-back.ts';
import { holdMm } from '../hold.ts';
import type { MachineParts } from '../machine-parts.ts';
import { mmOf } from '../mm.ts';
import { MmStruct } from '../mm-struct.ts';
import { type Pressure, reclaimMm } from './swap-out.ts';

/** Frames that one reclaim tries to free: often enough for a burst of faults. */
const BATCH = 64;

/**
 * Frees up to `wanted` frames: unmapped pages of files, then pages that were not accessed lately,
 * then any. Thread `thread` holds no lock and no place in the gate.
 */
export function reclaimFrames(
  machine: MachineParts,
  thread: number,
  wanted: number = BATCH,
): Reclaimed {
  const before = machine.allocator.freeFrames;
  let passedOver = false;
  let missing = wanted - shrinkCaches(machine, thread, wanted);
  for (const sparesAccessed of [true, false]) {
    for (let mms = 0; mms < machine.maxAddressSpaces && missing > 0; mms++) {
      const pressure = { wanted: missing, sparesAccessed };
      const isDone = reclaimFrom(machine, machine.nextReclaimSlot(), thread, pressure);
      passedOver ||= !isDone;
      missing = pressure.wanted;
    }
    if (missing > 0) missing -= shrinkCaches(machine, thread, missing);
  }
  // Another thread may have freed frames, or taken those that were freed here.
  const freed = Math.max(wanted - missing, machine.allocator.freeFrames - before, 0);
  return { freed, passedOver };
}

/** What a reclaim came to. */
export interface Reclaimed {
  /** Frames. */
  readonly freed: number;
  /** An mm was busy, and this thread must not wait: there may be more in it. */
  readonly passedOver: boolean;
}

/** One mm, unless it is gone. False when it is busy and this thread must not wait. */
function reclaimFrom(
  machine: MachineParts,
  slot: number,
  thread: number,
  pressure: Pressure,
): boolean {
  const struct = new MmStruct(machine.mmWords, slot);
  const { generation } = struct; // read first: what is read later belongs to this life or a later one
  if (!struct.isLive) return true;
  const reference = { machine, slot, generation };
  try {
    holdMm(mmOf(machine, slot, thread), reference, 'read', (mm) => reclaimMm(mm, pressure));
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EAGAIN') return false;
    if (code !== 'MM_GONE') throw error;
  }
  return true;
}

/** Pages of living files that nobody maps. */
function shrinkCaches(machine: MachineParts, thread: number, wanted: number): number {
  const { gate, files, mayBlock } = machine;
  if (mayBlock) gate.enter(thread);
  else if (!gate.tryEnter(thread)) return 0;
  let freed = 0;
  try {
    for (let id = 1; id <= files.highWater && freed < wanted; id++) {
      // With a reference nobody else can free the file, nor its slot become another's.
      if (!files.tryGet(id)) continue;
      const context = cacheContext(machine, thread);
      freed += shrinkFile(context, id, wanted - freed);
      putFile(context, id);
    }
  } finally {
    gate.leave(thread);
  }
  return freed;
}

function shrinkFile(context: CacheContext, id: number, wanted: number): number {
  const { files, thread } = context;
  if (files.cachePages(id) === 0) return 0;
  if ((files.kind(id) & (FILE_KIND.MEMORY | FILE_KIND.DELETED)) !== 0) return 0;
  const lock = files.lock(id);
  if (!lock.tryLock(thread)) return 0; // somebody is reading a page in: the next one, then
  try {
    return shrinkCacheLocked(context, id, wanted);
  } finally {
    lock.unlock(thread);
  }
}
