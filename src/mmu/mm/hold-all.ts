/**
 * Holds several mms of one machine at one instant, each with its mmap lock for writing. A thread id
 * holds one lock of each rank, so each mm needs an id of its own, and every id is inside the gate.
 * The locks are taken in ascending order of slots, so no two holders wait for each other. As any
 * holder of the lock for writing, the holder takes the translations of the mms away.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { OPERATION } from '../../shared/sync/thread-layout.ts';
import { wouldBlock } from '../../shared/sync/would-block.ts';
import type { MmReference } from './hold.ts';
import type { MachineParts } from './machine-parts.ts';
import { type Mm, mmOf } from './mm.ts';
import { enterAsOperation, releaseAll } from './operation.ts';
import { goOutside } from './translation-user.ts';

/**
 * Runs `action` on the mms, in the order given. Throws MM_GONE if one of them was destroyed, EAGAIN
 * where the thread would have to wait and must not, and TOO_MANY_THREADS.
 */
export function holdAll<T>(references: readonly MmReference[], action: (mms: Mm[]) => T): T {
  const { machine } = references[0]!;
  const ids = [machine.thread];
  goOutside(); // by the translations of an mm: the holder waits for all who use them
  try {
    while (ids.length < references.length) ids.push(machine.threads.register(OPERATION));
    while (!tryEnterAll(machine, ids)) {
      if (!machine.mayBlock) throw wouldBlock('the machine is frozen: its gate');
      machine.gate.enter(machine.thread); // waits until the gate is open
      machine.gate.leave(machine.thread);
    }
    try {
      const mms = mmsOf(references, ids);
      return locked(mms, lockAll(mms), references, action);
    } finally {
      for (const id of ids) machine.gate.leave(id);
    }
  } finally {
    releaseAll(machine, ids.slice(1));
  }
}

/** The asynchronous twin of `holdAll`, which waits. Rejects with AbortError if `signal` fires. */
export async function holdAllAsync<T>(
  references: readonly MmReference[],
  action: (mms: Mm[]) => T,
  signal?: AbortSignal,
): Promise<T> {
  const { machine } = references[0]!;
  for (;;) {
    const ids = await enterAsOperation(machine, references.length, signal);
    const others = ids.slice(1);
    let isInside = false;
    try {
      isInside = tryEnterAll(machine, others);
      if (isInside) return await lockedAsync(mmsOf(references, ids), references, action, signal);
    } finally {
      for (const id of isInside ? ids : ids.slice(0, 1)) machine.gate.leave(id);
      releaseAll(machine, ids);
    }
    await nextTurn(); // a freeze began in between
  }
}

function mmsOf(references: readonly MmReference[], ids: readonly number[]): Mm[] {
  return references.map(({ machine, slot, generation }, index) => {
    const id = ids[index]!;
    // The thread's own objects are kept, so that snapshots in a row make no new ones.
    return id === machine.thread
      ? machine.mms.of(machine, slot, generation)
      : mmOf(machine, slot, id);
  });
}

/** Enters the gate with all ids, or with none if it is closed. */
function tryEnterAll({ gate }: MachineParts, ids: readonly number[]): boolean {
  for (const [index, id] of ids.entries()) {
    let isInside = false;
    try {
      isInside = gate.tryEnter(id);
    } finally {
      if (!isInside) for (const entered of ids.slice(0, index)) gate.leave(entered);
    }
    if (!isInside) return false;
  }
  return true;
}

function inOrder(mms: readonly Mm[]): Mm[] {
  return [...mms].sort((a, b) => a.slot - b.slot);
}

/** Takes the locks and returns the mms. Throws EAGAIN. */
function lockAll(mms: readonly Mm[]): Mm[] {
  const taken: Mm[] = [];
  try {
    for (const mm of inOrder(mms)) {
      if (mm.mayBlock) mm.lock.lock(mm.thread, 'write');
      else if (!mm.lock.tryLock(mm.thread, 'write')) throw wouldBlock('the mmap lock');
      taken.push(mm);
    }
    for (const { machine, slot, mayBlock } of taken) {
      if (machine.translations.revoke(slot, mayBlock)) continue;
      throw wouldBlock('a translation of the address space');
    }
  } catch (error) {
    for (const mm of taken) mm.lock.unlock(mm.thread);
    throw error;
  }
  return taken;
}

function locked<T>(
  mms: Mm[],
  taken: readonly Mm[],
  references: readonly MmReference[],
  action: (mms: Mm[]) => T,
): T {
  try {
    assertLive(mms, references);
    return action(mms);
  } finally {
    for (const mm of taken) {
      mm.cursor.dropViews();
      mm.lock.unlock(mm.thread);
    }
  }
}

async function lockedAsync<T>(
  mms: Mm[],
  references: readonly MmReference[],
  action: (mms: Mm[]) => T,
  signal: AbortSignal | undefined,
): Promise<T> {
  const taken: Mm[] = [];
  try {
    for (const mm of inOrder(mms)) {
      await mm.lock.lockAsync(mm.thread, 'write', signal);
      taken.push(mm);
    }
    for (const { machine, slot } of taken) await machine.translations.revokeAsync(slot, signal);
  } catch (error) {
    for (const mm of taken) mm.lock.unlock(mm.thread);
    throw error;
  }
  return locked(mms, taken, references, action);
}

function assertLive(mms: readonly Mm[], references: readonly MmReference[]): void {
  for (const [index, { struct, slot }] of mms.entries()) {
    if (struct.isLiveIn(references[index]!.generation)) continue;
    const fields = mms.length > 1 ? { mm: index } : {};
    throw new MmdumpError('MM_GONE', `address space ${slot} was destroyed`, fields);
  }
}
