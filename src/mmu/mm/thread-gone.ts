/**
 * What remains to be done when a thread has died (its host calls `machine.threadGone`): its places
 * in queues, its read locks, its place in the gate and its freeze are given back. If it died in
 * the middle of a change, the machine is poisoned: every later operation fails with one code.
 */
import { DIED_WRITING } from '../../shared/sync/trust.ts';
import type { MachineParts } from './machine-parts.ts';
import { type MmParts, mmParts } from './mm.ts';

/**
 * Returns false when the id is not that of a living thread (or was handled already). `seen`: the life
 * of the id that was found to have ended (`ThreadTable.lookForEnded`).
 */
export function threadGone(machine: MachineParts, thread: number, seen?: number): boolean {
  const { threads } = machine;
  if (!threads.declareDead(thread, seen)) return false;
  if (machine.hasLetGo) {
    threads.bury(thread);
    return true;
  }
  if (threads.isOnlooker(thread)) {
    machine.breakTableLocks(thread);
    machine.files.breakLocks(thread);
  }
  // Poison comes first: once its entries are gone, others take the locks that it died with.
  if (diedWriting(machine, thread)) threads.poison(DIED_WRITING, thread);
  // It may have let a mutex go and died before it woke anybody: so everybody is woken.
  forEachMm(machine, ({ lock, ldtLock }) => {
    lock.abandon(thread);
    ldtLock.wakeAll();
  });
  machine.files.wakeAll();
  machine.gate.abandon(thread);
  threads.bury(thread);
  return true;
}

/** Whether it held, or had just taken, a lock that protects a change. */
function diedWriting(machine: MachineParts, thread: number): boolean {
  if (machine.threads.diedWriting(thread)) return true;
  // Locks are recorded as held after they are taken: a thread may die in between.
  let writing =
    machine.allocator.lockOwner === thread ||
    machine.store.lockOwner === thread ||
    machine.files.tableLockOwner === thread ||
    machine.files.anyLockOwnedBy(thread) ||
    machine.holdsTableLock(thread);
  forEachMm(machine, ({ lock, ldtLock }) => {
    writing ||= lock.isWriting(thread) || ldtLock.owner === thread;
  });
  return writing;
}

/** Every mm that was ever there: one that is gone may still have its last user in its lock. */
function forEachMm(machine: MachineParts, visit: (mm: MmParts) => void): void {
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const parts = mmParts(machine, slot);
    if (parts.struct.generation !== 0) visit(parts);
  }
}
