/** Faults on swap entries (do_swap_page). The mmap lock is held in either mode. */

import { describeAnonymous, setLeaf } from '../fault/leaf.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import { softOfSwapped } from '../tables/pte.ts';
import { dropLeaf } from '../tables/zap.ts';

/**
 * Maps a fresh frame with the bytes of the swap slot, and drops the entry's reference to the slot.
 * There is no swap cache: if a fork shares the slot, the other mm gets a frame of its own when it
 * faults. Nothing happens if another thread has changed the entry first.
 */
export function swapIn(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
): void {
  const { swap } = mm.machine;
  const { words, at, table } = cursor;
  const pfn = mm.allocator.allocate(mm.thread);
  describeAnonymous(mm, slot, vpn, pfn);
  lockTable(mm, table);
  // The entry may have changed before the lock was taken: only what it says now counts.
  const swapped = swap.slotOf(words[at]!, words[at + 1]!);
  if (swapped >= 0) {
    mm.memory.copy(pfn, swap.frameOf(swapped));
    // Dirty in any case, since the slot is freed; soft-dirty only if the page was written.
    const isSoft = write || softOfSwapped(words[at]!) !== 0;
    setLeaf(cursor, pfn, flags, write, true, isSoft);
    mm.faulted = 'swapIn';
  }
  unlockTable(mm, table);
  if (swapped >= 0) swap.put(swapped, mm.thread);
  else dropLeaf(mm, pfn);
}
