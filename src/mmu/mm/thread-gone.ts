/**
 * Cleans up after a thread that has died: gives back its places in queues, its read locks, its
 * place in the gate and its freeze. If it died in the middle of a change, the machine is poisoned,
 * and every later operation fails with MACHINE_POISONED.
 */
import { DIED_WRITING } from '../../shared/sync/trust.ts';
import type { MachineParts } from './machine-parts.ts';
import { type MmParts, mmParts } from './mm.ts';

/**
 * Declares a thread dead and cleans up after it. Returns false when no living thread has the id, or
 * its death was handled already. `seen` is the life of the id that has ended, if it is known
 * (`ThreadTable.lookForEnded`); a later life of the id is left alone.
 */
export function threadGone(machine: MachineParts, thread: number, seen?: number): boolean {
  const { threads } = machine;
  if (!threads.declareDead(thread, seen)) return false;
  if (machine.hasDroppedViews) {
    threads.bury(thread);
    return true;
  }
  if (threads.isOnlooker(thread)) {
    machine.breakTableLocks(thread);
    machine.files.breakLocks(thread);
  }
  // Poison comes first: once its entries are gone, other threads get the locks that it died with.
  if (diedWriting(machine, thread)) threads.poison(DIED_WRITING, thread);
  // It may have released a mutex and died before it woke the waiters, so all waiters are woken.
  forEachMm(machine, ({ lock, ldtLock }) => {
    lock.abandon(thread);
    ldtLock.wakeAll();
  });
  machine.files.wakeAll();
  machine.gate.abandon(thread);
  threads.bury(thread);
  return true;
}

/** Whether the thread held, or had just taken, a lock that protects a change. */
function diedWriting(machine: MachineParts, thread: number): boolean {
  if (machine.threads.diedWriting(thread)) return true;
  // A lock is recorded as held after it is taken, and the thread may have died in between.
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

/**
 * Visits all slots that were ever used: the last user of a destroyed mm may still be in its lock.
 */
function forEachMm(machine: MachineParts, visit: (mm: MmParts) => void): void {
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const parts = mmParts(machine, slot);
    if (parts.struct.generation !== 0) visit(parts);
  }
}
