/**
 * Faults on backed entries: a major fault that loads the page from its backing. The mmap lock is
 * held in either mode.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { sigbus } from '../arguments/signal.ts';
import { describeAnonymous, setLeaf } from '../fault/leaf.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import { backingOf, placeOf, softOfSwapped } from '../tables/pte.ts';
import { dropLeaf } from '../tables/zap.ts';

/**
 * Maps a fresh frame with the bytes that the backing has for the entry `low`, `high`. The bytes are
 * read before the page-table lock is taken, since that may take long. Nothing happens if another
 * thread has changed the entry meanwhile. Throws SIGBUS if the page cannot be read.
 */
export function backingIn(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
  low: number,
  high: number,
): void {
  const { memory, machine, allocator, thread } = mm;
  const pfn = allocator.allocate(thread);
  try {
    const into = memory.bytesOf(pfn);
    machine.backings.read(backingOf(high), placeOf(low, high), 1, into, memory.byteAt(pfn));
  } catch (error) {
    allocator.put(pfn, thread);
    if (error instanceof MmdumpError) throw sigbus(vpn, error.message);
    throw error;
  }
  describeAnonymous(mm, slot, vpn, pfn);
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const isSame = words[at] === low && words[at + 1] === high;
  if (isSame) setLeaf(cursor, pfn, flags, write, write, write || softOfSwapped(low) !== 0);
  unlockTable(mm, table);
  if (!isSame) dropLeaf(mm, pfn);
}
