/**
 * Holds mms still: closes the freeze gate, takes their mmap locks for reading, and gives both back
 * in any case.
 */

import { readLdt } from '../../mmu/calls/ldt.ts';
import type { MmReference } from '../../mmu/machine/enter.ts';
import { type Mm, mmOf } from '../../mmu/mm/mm.ts';
import { enterAsOperation, releaseAll } from '../../mmu/mm/operation.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';

/** Runs `action` on one mm while nothing on its machine changes; see `withHeldMms`. */
export function withStoppedMm<T>(
  reference: MmReference,
  signal: AbortSignal | undefined,
  action: (mm: Mm) => Promise<T>,
): Promise<T> {
  return withHeldMms([reference], true, signal, ([mm]) => action(mm!));
}

/**
 * Runs `action` while the mappings of the mms do not change and, with `freeze`, nothing on their
 * machine does. The action gets the mms in the order given, each under a thread id of its own,
 * because a thread id holds at most one lock per rank. So one dump can hold several mms, and
 * several dumps of one thread can hold the same mm.
 *
 * Preconditions: all mms belong to one machine.
 *
 *  - With `freeze` the first id freezes the machine, once. Without `freeze` the first id is inside
 *    the gate, as in any operation, so a freeze waits for the end of the action.
 *  - The mmap locks are taken in ascending order of slots, so no two holders wait for each other.
 *  - All ids are taken before anything is held (`thread-queue.ts`). Without `freeze` there is one
 *    more, in `onlookers`, for a worker. An action that takes it out of the list has to release it.
 *
 * `first` runs once the machine is frozen, or inside the gate, before any lock is held. MM_GONE if
 * one of the mms was destroyed, and AbortError when `signal` fires.
 */
export async function withHeldMms<T>(
  references: readonly MmReference[],
  freeze: boolean,
  signal: AbortSignal | undefined,
  action: (mms: readonly Mm[], onlookers: number[]) => Promise<T>,
  first?: (mms: readonly Mm[]) => Promise<void>,
): Promise<T> {
  const { machine } = references[0]!;
  const count = references.length;
  const ids = freeze
    ? await machine.queue.take(count, signal)
    : await enterAsOperation(machine, count + 1, signal);
  const onlookers = ids.slice(count);
  const [gateId] = ids as readonly [number];
  try {
    if (freeze) await machine.gate.freeze(gateId, signal);
    try {
      const mms = references.map(({ slot }, index) => mmOf(machine, slot, ids[index]!));
      await first?.(mms);
      return await withLockedMms(mms, references, signal, () => action(mms, onlookers));
    } finally {
      if (freeze) machine.gate.thaw(gateId);
      else machine.gate.leave(gateId);
    }
  } finally {
    releaseAll(machine, [...ids.slice(0, count), ...onlookers]);
  }
}

async function withLockedMms<T>(
  mms: readonly Mm[],
  references: readonly MmReference[],
  signal: AbortSignal | undefined,
  action: () => Promise<T>,
): Promise<T> {
  const locked: Mm[] = [];
  try {
    for (const mm of [...mms].sort((a, b) => a.slot - b.slot)) {
      await mm.lock.lockAsync(mm.thread, 'read', signal);
      locked.push(mm);
    }
    mms.forEach(({ slot, struct }, ordinal) => {
      if (struct.isLive && struct.generation === references[ordinal]!.generation) return;
      const fields = mms.length > 1 ? { mm: ordinal } : {};
      throw new MmdumpError('MM_GONE', `address space ${slot} was destroyed`, fields);
    });
    return await action();
  } finally {
    for (const mm of locked) mm.lock.unlock(mm.thread);
  }
}

/** Copies the LDT under its lock. */
export async function snapshotLdt(mm: Mm, signal: AbortSignal | undefined): Promise<Uint8Array> {
  await mm.ldtLock.lockAsync(mm.thread, signal);
  try {
    return readLdt(mm);
  } finally {
    mm.ldtLock.unlock(mm.thread);
  }
}

/** The VMA around a page, for messages: its addresses, and the text `VMA 0x1000-0x2000`. */
export function describeVma(
  mm: Mm,
  vpn: number,
): { readonly text: string; readonly start: number; readonly end: number } {
  const slot = mm.vmas.lookup(vpn);
  const start = addressOf(mm.vmas.start(slot));
  const end = addressOf(mm.vmas.end(slot));
  return { text: `VMA ${hex(start)}-${hex(end)}`, start, end };
}
