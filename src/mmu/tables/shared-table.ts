/**
 * Leaf tables that belong to several mms: to one that lives and to its snapshots (On-Demand-Fork).
 * The reference count of a leaf table is the number of level-2 entries that point to it.
 *
 *              level-2 entry of the mm           leaf table            level-2 entry of a snapshot
 *   own          W ─────────────────────────────▶ 1 reference
 *   shared       not W ─────────────────────────▶ 2 or more ◀─────────────── not W
 *   unchanged    not W ─────────────────────────▶ 1 reference       (no snapshot shares it any more,
 *                                                                    or a rewind has put it back)
 *
 * Below a level-2 entry without W nothing has changed since it lost it. The first change there opens
 * the table (`openTable`): a shared one is replaced by a copy, and the entry gets W.
 *
 * - A frame or swap slot has one reference for each table whose leaf shows it, however many mms the
 *   table has. So a leaf of a private mapping may be writable in a shared table, although no mm can
 *   write through it. A copy of the table takes that right from both, and a reference for itself.
 * - What only the processor or the writer-back notes (ACCESSED, DIRTY, soft-dirty bits) may change
 *   in a shared table. No content depends on it.
 * - A shared table is replaced and dropped under the mmap lock for writing. So nobody walks it on
 *   behalf of this mm, and those who walk it for another mm are safe by that mm's reference.
 * - References are taken by the mm's owner of the mmap lock for writing, and dropped under the lock
 *   of the table. So a count of 1 is that of this mm, and stays 1 while its mmap lock is held.
 */
import type { Pfn } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { WantsWriteLock } from '../arguments/signal.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import {
  allocateTable,
  isShared,
  lockTable,
  makeTables,
  type PageCursor,
  unlockTable,
  walk,
} from './page-table.ts';
import {
  highOf,
  isPresent,
  lowOf,
  PTE,
  pfnOf,
  replaceEntry,
  setEntry,
  TABLE_ENTRY,
} from './pte.ts';

const { WRITE } = PTE;
const ENTRY_WORDS = 1024; // of a table

/** Takes the reference of one more leaf to the frame, and counts its mapping. */
export function shareFrame({ memory, pages }: Mm, pfn: number): void {
  if (pfn <= 0 || !memory.has(pfn)) return; // the entry was damaged on purpose
  if ((pages.flags(pfn) & PG.RESERVED) !== 0) return;
  pages.get(pfn);
  pages.addMapping(pfn);
}

/**
 * Takes the reference of one more entry to the frame or swap slot of the entry words[at], and takes
 * the write permission from that. Returns the low word that both entries have from now on.
 */
export function shareEntry(mm: Mm, words: Int32Array, at: number): number {
  let low = words[at]!;
  if (isPresent(low)) {
    if ((low & WRITE) !== 0) {
      low &= ~WRITE; // of a shared mapping, too: its next write sets it again
      words[at] = low;
    }
    shareFrame(mm, pfnOf(low, words[at + 1]!));
    return low;
  }
  const { swap } = mm.machine;
  const slot = swap.slotOf(low, words[at + 1]!);
  if (slot >= 0) swap.get(slot, mm.thread);
  return low;
}

/**
 * Lets the entries of the leaf table at the cursor change: gives this mm a table of its own if it
 * shares this one. The cursor is at the entry of `vpn` in the table, and is there again afterwards,
 * perhaps in another table. Throws WantsWriteLock if the table is shared and the mmap lock is held
 * for reading, and ENOMEM if no frame is free for a copy; nothing has changed then.
 */
export function openTable(mm: Mm, vpn: number, cursor: PageCursor): void {
  if (!cursor.isProtected) return;
  const { table } = cursor;
  const own = isShared(mm, table) ? copyShared(mm, table) : table;
  walk(mm, mm.pgd, vpn, cursor, 2);
  lockTable(mm, cursor.table);
  const { words, at } = cursor;
  // Another thread with the lock for reading may have been faster. Then the entry is the same.
  if (own === table) setEntry(words, at, words[at]! | WRITE, words[at + 1]!);
  else replaceEntry(words, at, lowOf(own, TABLE_ENTRY), highOf(own, 0));
  unlockTable(mm, cursor.table);
  walk(mm, mm.pgd, vpn, cursor);
}

/**
 * Makes the tables of `vpn` that are missing, as `makeTables` does, and opens the leaf table: the
 * entry at the cursor may change. Throws ENOMEM, EFAULT and WantsWriteLock.
 */
export function ensureTables(
  mm: Mm,
  pgd: Pfn,
  vpn: number,
  bottom: number,
  cursor: PageCursor,
): 'table' | 'huge' {
  const found = makeTables(mm, pgd, vpn, bottom, cursor);
  if (found === 'table' && bottom === 1) openTable(mm, vpn, cursor);
  return found;
}

/** Does what `openTable` does if the mm shares the table with nobody, and returns whether it did. */
export function openOwnTable(mm: Mm, vpn: number, cursor: PageCursor): boolean {
  if (cursor.isProtected && isShared(mm, cursor.table)) return false;
  openTable(mm, vpn, cursor);
  return true;
}

/**
 * Returns a copy of the table, and drops this mm's reference to it. Returns the table itself if
 * nobody shares it any more.
 */
function copyShared(mm: Mm, table: Pfn): Pfn {
  if (!mm.threads.holds(mm.thread, RANK.MMAP_WRITE)) throw new WantsWriteLock();
  const fresh = allocateTable(mm, 1);
  lockTable(mm, table);
  const isStillShared = isShared(mm, table);
  if (isStillShared) {
    copyEntries(mm, table, fresh);
    mm.pages.dropReference(table);
  }
  unlockTable(mm, table);
  if (isStillShared) return fresh;
  mm.allocator.put(fresh, mm.thread);
  return table;
}

/** Copies all entries to a table that nobody knows yet. Private pages are read-only in both. */
function copyEntries(mm: Mm, table: Pfn, fresh: Pfn): void {
  const from = mm.memory.wordsOf(table);
  const to = mm.memory.wordsOf(fresh);
  const first = mm.memory.wordAt(table);
  const offset = mm.memory.wordAt(fresh) - first;
  for (let at = first; at < first + ENTRY_WORDS; at += 2) {
    if (from[at] === 0) continue;
    to[at + offset] = shareEntry(mm, from, at);
    to[at + offset + 1] = from[at + 1]!;
  }
}
