/** Bringing a swapped page back (do_swap_page). The mmap lock is held in either mode. */

import { describeAnonymous, setLeafLocked } from '../fault/leaf.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import { dropLeaf } from '../tables/zap.ts';

/**
 * Gives the page at the cursor a frame of its own with the bytes of its swap slot. There is no swap
 * cache: where a fork shares the slot, the other mm gets a frame of its own when it comes. Nothing
 * happens if another thread was quicker.
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
  // The entry may be another one by now: what it says under the lock is what counts.
  const swapped = swap.slotOf(words[at]!, words[at + 1]!);
  if (swapped >= 0) {
    mm.memory.copy(pfn, swap.frameOf(swapped));
    setLeafLocked(cursor, pfn, flags, write, true);
  }
  unlockTable(mm, table);
  if (swapped >= 0) swap.put(swapped, mm.thread);
  else dropLeaf(mm, pfn);
}
