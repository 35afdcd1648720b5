/**
 * What remains to be done when a thread has died (its host calls `machine.threadGone`): its places
 * in queues, its read locks, its place in the gate and its freeze are given back. If it died in
 * the middle of a change, the machine is poisoned: every later operation fails with one code.
 */
import { DIED_WRITING } from '../shared/sync/thread-table.ts';
import type { MachineParts } from './machine-parts.ts';
import { mmParts } from './mm.ts';

/** Returns false when the id is not that of a living thread (or was handled already). */
export function threadGone(machine: MachineParts, thread: number): boolean {
  const { threads } = machine;
  if (!threads.declareDead(thread)) return false;
  let writing = threads.diedWriting(thread);
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const { struct, lock, ldtLock } = mmParts(machine, slot);
    if (struct.generation === 0) continue; // never used
    if (lock.abandon(thread) === 'writing') writing = true;
    if (ldtLock.owner === thread) writing = true;
  }
  // Locks are recorded as held after they are taken: a thread may die in between.
  writing ||=
    machine.allocator.lockOwner === thread ||
    machine.files.anyLockOwnedBy(thread) ||
    machine.holdsTableLock(thread);
  if (writing) {
    threads.poison(DIED_WRITING, thread);
    wakeEverybody(machine);
  }
  machine.gate.abandon(thread);
  threads.bury(thread);
  return true;
}

/** Whoever waits must look again, and finds the machine poisoned. */
function wakeEverybody(machine: MachineParts): void {
  machine.gate.wakeAll();
  for (let slot = 0; slot < machine.maxAddressSpaces; slot++) {
    const { struct, lock, ldtLock } = mmParts(machine, slot);
    if (struct.generation === 0) continue;
    lock.wakeAll();
    ldtLock.wakeAll();
  }
  machine.files.wakeAll();
}
