/** What must hold once all threads of a machine have ended. */
import type { AddressSpace, Machine } from 'mmdump';
import type { Machine as MachineOfSource } from '../../src/mmu/machine/machine.ts';
import { mmParts } from '../../src/mmu/mm/mm.ts';
import { PAGE_STRUCT, PG } from '../../src/mmu/physical/page-struct.ts';
import { RANK } from '../../src/shared/sync/held-locks.ts';
import { THREADS_MAX } from '../../src/shared/sync/thread-layout.ts';
import { leaves } from '../support/machine/invariants.ts';

/** The built package and the sources describe the same shared memory. */
export function asSource(machine: Machine): MachineOfSource {
  return machine as unknown as MachineOfSource;
}

/** Throws if a lock is held or waited for, or a thread id other than ours was not given back. */
export function assertNobodyIsThere(machine: Machine): void {
  const { parts } = asSource(machine);
  const { threads, gate, allocator, files, pages } = parts;
  const found: string[] = [];
  for (let id = 0; id < THREADS_MAX; id++) {
    if (threads.isLive(id) !== (id === machine.parts.thread)) found.push(`thread ${id} is alive`);
    const ranks = Object.values(RANK).filter((rank) => threads.holds(id, rank));
    if (ranks.length > 0) found.push(`thread ${id} holds locks of rank ${ranks}`);
    if (files.anyLockOwnedBy(id)) found.push(`thread ${id} holds the lock of a file`);
  }
  if (gate.isClosed) found.push('the gate is closed');
  if (allocator.lockOwner >= 0) found.push(`the allocator lock: ${allocator.lockOwner}`);
  for (let pfn = 2; pfn < parts.memory.frames; pfn++) {
    if (pages.references(pfn) === 0 || (pages.flags(pfn) & PG.TABLE) === 0) continue;
    if (pages.words[pages.lockWord(pfn)] !== 0) found.push(`the lock of table ${pfn} is held`);
  }
  for (let slot = 0; slot < parts.maxAddressSpaces; slot++) {
    const { lock, ldtLock } = mmParts(parts, slot);
    const { readers, writers } = lock.holders();
    if (readers + writers > 0) found.push(`the mmap lock of mm ${slot} is held`);
    if (ldtLock.owner >= 0) found.push(`the LDT lock of mm ${slot} is held`);
  }
  if (found.length > 0) throw new Error(found.join('\n'));
}

/**
 * Throws when a frame or swap slot is used more often than its counts say: it could be given to
 * another page while a page table still shows it. A count that is too high is no error: a thread
 * that died between two steps may leave one.
 */
export function assertNothingIsUsedTwice(machine: Machine): void {
  const { parts } = asSource(machine);
  const mapped = new Map<number, number>();
  const swapped = new Map<number, number>();
  for (const space of asSource(machine).addressSpaces()) {
    for (const { vpn, pfn, low, high } of leaves(asSource(machine), space)) {
      const slot = parts.swap.slotOf(low, high);
      const isPresent = (low & 0x101) !== 0;
      if (isPresent && (low & 0x200) === 0) mapped.set(pfn, (mapped.get(pfn) ?? 0) + 1);
      if (!isPresent && slot >= 0) swapped.set(slot, (swapped.get(slot) ?? 0) + 1);
      if (!isPresent && slot < 0 && high >>> 27 !== 31) throw new Error(`page ${vpn}: no slot`);
    }
  }
  const { words } = parts.pages;
  for (const [pfn, count] of mapped) {
    if ((parts.pages.flags(pfn) & PG.RESERVED) !== 0) continue;
    const references = words[pfn * PAGE_STRUCT.WORDS + PAGE_STRUCT.REFCOUNT]!;
    const mapCount = words[pfn * PAGE_STRUCT.WORDS + PAGE_STRUCT.MAPCOUNT]!;
    if (references >= count && mapCount >= count) continue;
    throw new Error(`frame ${pfn}: ${count} leaves, counts ${references} and ${mapCount}`);
  }
  for (const [slot, count] of swapped) {
    if (parts.swap.references(slot) < count) throw new Error(`swap slot ${slot}: ${count} entries`);
  }
}

/**
 * Lets every mm exit and drops the page cache. Returns how many frames and swap slots are in use
 * then.
 */
export function leftAfterExit(machine: Machine): { frames: number; slots: number } {
  for (const space of machine.addressSpaces() as AddressSpace[]) space.exit();
  machine.reclaim(machine.memory.total);
  const { allocator, pages, memory, swap } = asSource(machine).parts;
  let kept = 0; // the huge zero page, and the page-cache nodes of a file that still exists
  for (let pfn = 2; pfn < memory.frames; pfn++) {
    const isHere = pages.references(pfn) > 0 || (pages.flags(pfn) & PG.RESERVED) !== 0;
    if (isHere && (pages.flags(pfn) & (PG.ZERO | PG.CACHE_NODE)) !== 0) kept++;
  }
  const frames = allocator.managedFrames - allocator.countFree(machine.parts.thread) - kept;
  return { frames, slots: swap.slots - swap.free };
}
