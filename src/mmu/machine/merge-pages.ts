/**
 * One full scan of ksmd over all address spaces of a machine (`fault/ksm.ts`). The thread stays
 * inside the freeze gate for the whole scan. The scan keeps references to stable frames, which must
 * be dropped before the machine is frozen.
 */
import { errnoOf } from '../../shared/errors.ts';
import { MergeScan } from '../fault/ksm.ts';
import { cacheContext } from '../files/page-cache.ts';
import { holdGate, lockMm, lockMmAsync, type MmReference, passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { type Mm, mmOf } from '../mm/mm.ts';
import { MmStruct } from '../mm/mm-struct.ts';

/** Returns references to all living mms of the machine, without those of snapshots. */
export function livingMms(machine: MachineParts): MmReference[] {
  const found: MmReference[] = [];
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const struct = new MmStruct(machine.mmWords, slot);
    const { generation } = struct; // read first: what is read later is of this life or a later one
    if (struct.isLive && !struct.isSnapshot) found.push({ machine, slot, generation });
  }
  return found;
}

/** Returns the two passes of the scan, in their order. */
function visitsOf(scan: MergeScan): readonly ((mm: Mm) => void)[] {
  return [(mm) => scan.count(mm), (mm) => scan.merge(mm)];
}

/**
 * Returns how many pages gave up their frame. A thread that must not block skips mms that are busy.
 */
export function mergePages(machine: MachineParts): number {
  const { thread } = machine;
  const scan = new MergeScan();
  return holdGate(machine, thread, () => {
    try {
      for (const visit of visitsOf(scan)) {
        for (const reference of livingMms(machine)) {
          passOver(() => lockMm(mmOf(machine, reference.slot, thread), reference, 'write', visit));
        }
      }
    } finally {
      scan.finish(cacheContext(machine, thread));
    }
    return scan.merged;
  });
}

/**
 * The asynchronous twin of `mergePages`, which waits. Rejects with AbortError if `signal` fires.
 */
export function mergePagesAsync(machine: MachineParts, signal?: AbortSignal): Promise<number> {
  const scan = new MergeScan();
  return passGateAsync(
    machine,
    async (thread) => {
      try {
        for (const visit of visitsOf(scan)) {
          for (const reference of livingMms(machine)) {
            const mm = mmOf(machine, reference.slot, thread);
            await lockMmAsync(mm, reference, 'write', visit, signal).catch(ignoreGone);
          }
        }
      } finally {
        scan.finish(cacheContext(machine, thread));
      }
      return scan.merged;
    },
    signal,
  );
}

/** Visits an mm, unless it is busy and this thread must not block, or it has exited meanwhile. */
function passOver(visit: () => void): void {
  try {
    visit();
  } catch (error) {
    if (errnoOf(error) !== 'EAGAIN') ignoreGone(error);
  }
}

function ignoreGone(error: unknown): void {
  if (errnoOf(error) !== 'MM_GONE') throw error;
}
