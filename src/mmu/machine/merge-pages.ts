/**
 * One full scan of ksmd over all address spaces of a machine (`fault/ksm.ts`). The whole scan is
 * inside the freeze gate: between its two passes it keeps references to frames, and these must be
 * given back before anybody freezes the machine.
 */
import { errnoOf } from '../../shared/errors.ts';
import { MergeScan } from '../fault/ksm.ts';
import { cacheContext } from '../files/page-cache.ts';
import { holdGate, lockMm, lockMmAsync, type MmReference, passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { type Mm, mmOf } from '../mm/mm.ts';
import { MmStruct } from '../mm/mm-struct.ts';

/** Every living mm of the machine. */
export function livingMms(machine: MachineParts): MmReference[] {
  const found: MmReference[] = [];
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const struct = new MmStruct(machine.mmWords, slot);
    const { generation } = struct; // before anything else of this life
    if (struct.isLive) found.push({ machine, slot, generation });
  }
  return found;
}

/** Both passes, in order. */
function visitsOf(scan: MergeScan): readonly ((mm: Mm) => void)[] {
  return [(mm) => scan.countLocked(mm), (mm) => scan.mergeLocked(mm)];
}

/** Returns the pages that gave up their frame. On a thread that must not block busy mms are left out. */
export function mergePages(machine: MachineParts): number {
  const { thread } = machine;
  const scan = new MergeScan();
  return holdGate(machine, thread, () => {
    try {
      for (const visit of visitsOf(scan)) {
        for (const reference of livingMms(machine)) {
          passOver(() => lockMm(mmOf(machine, reference.slot, thread), reference, 'read', visit));
        }
      }
    } finally {
      scan.finish(cacheContext(machine, thread));
    }
    return scan.merged;
  });
}

/** The asynchronous twin waits for everybody. AbortError when `signal` fires meanwhile. */
export function mergePagesAsync(machine: MachineParts, signal?: AbortSignal): Promise<number> {
  const scan = new MergeScan();
  return passGateAsync(
    machine,
    async (thread) => {
      try {
        for (const visit of visitsOf(scan)) {
          for (const reference of livingMms(machine)) {
            const mm = mmOf(machine, reference.slot, thread);
            await lockMmAsync(mm, reference, 'read', visit, signal).catch(ignoreGone);
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

/** The mm is busy, and this thread must not wait, or it has exited meanwhile. */
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
