/**
 * Removes entries from the page tables (zap_page_range). The mmap lock is held: for writing, or for
 * reading where pages go but VMAs stay (MADV_DONTNEED).
 */
import { GRANULE_PAGES } from '../../shared/page.ts';
import { MMAP, RANK } from '../../shared/sync/held-locks.ts';
import { WantsWriteLock } from '../arguments/signal.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import {
  dropShared,
  isShared,
  lockTable,
  type PageCursor,
  unlockTable,
  walk,
} from './page-table.ts';
import { clearEntry, isGuard, isPresent, PTE, pfnOf } from './pte.ts';
import { revokeTranslations } from './revoke.ts';
import { openTable } from './shared-table.ts';
import { splitHuge } from './split-huge.ts';
import { walkRange } from './walk-range.ts';

const { HUGE, DIRTY, SPECIAL } = PTE;

/**
 * Removes every entry of pages [from, to) and drops its reference to a frame or swap slot. Guard
 * markers stay with `keepGuards`. Throws ENOMEM when a huge leaf that lies only partly in the range
 * has to be split and no frame is free. The mmap lock is held in either mode.
 */
export function zapRange(mm: Mm, from: number, to: number, keepGuards = false): void {
  mm.threads.assertHeld(mm.thread, MMAP, 'pages are zapped');
  const { cursor } = mm;
  walkRange(mm, from, to, 'look', (found, vpn, end) => {
    const isWhole = end - vpn === GRANULE_PAGES;
    if (found === 'huge' && !isWhole) {
      splitHuge(mm, cursor);
      return 'again';
    }
    if (found === 'huge') return zapHuge(mm, cursor) ? 'done' : 'again';
    if (isWhole && !keepGuards && zapShared(mm, vpn, cursor)) return 'done';
    openTable(mm, vpn, cursor);
    zapTable(mm, cursor, end - vpn, keepGuards);
    return 'done';
  });
}

/**
 * Removes a whole leaf table that the mm shares, without a look at its entries, and returns true.
 * Returns false if the mm has the table for itself. Throws WantsWriteLock.
 */
function zapShared(mm: Mm, vpn: number, cursor: PageCursor): boolean {
  const { table } = cursor;
  if (!cursor.isProtected || !isShared(mm, table)) return false;
  if (!mm.threads.holds(mm.thread, RANK.MMAP_WRITE)) throw new WantsWriteLock();
  if (!dropShared(mm, table)) return false;
  walk(mm, mm.pgd, vpn, cursor, 2);
  lockTable(mm, cursor.table);
  clearEntry(cursor.words, cursor.at);
  unlockTable(mm, cursor.table);
  return true;
}

/** Removes `count` entries of a leaf table, from the cursor on. */
function zapTable(mm: Mm, cursor: PageCursor, count: number, keepGuards: boolean): void {
  const { words, table } = cursor;
  lockTable(mm, table);
  revokeTranslations(mm);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    if (low === 0) continue;
    const high = words[at + 1]!;
    if (keepGuards && isGuard(low, high)) continue;
    clearEntry(words, at);
    dropEntry(mm, low, high);
  }
  unlockTable(mm, table);
}

/**
 * Removes the huge leaf at the cursor (zap_huge_pmd). Returns false if it is none any more: another
 * thread with the mmap lock for reading has split it, swapped it out or removed it since the walk.
 */
function zapHuge(mm: Mm, cursor: PageCursor): boolean {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const low = words[at]!;
  const first = pfnOf(low, words[at + 1]!);
  const isStillHuge = (low & HUGE) !== 0;
  if (isStillHuge) revokeTranslations(mm);
  if (isStillHuge) clearEntry(words, at);
  unlockTable(mm, table);
  if (!isStillHuge) return false;
  for (let pfn = first; pfn < first + GRANULE_PAGES; pfn++) dropLeaf(mm, pfn);
  return true;
}

/** Drops the reference of a withdrawn 4 KiB entry to its frame or swap slot. */
export function dropEntry(mm: Mm, low: number, high: number): void {
  if (!isPresent(low)) {
    const slot = mm.machine.swap.slotOf(low, high);
    if (slot >= 0) mm.machine.swap.put(slot, mm.thread);
    return;
  }
  const pfn = pfnOf(low, high);
  if ((low & (DIRTY | SPECIAL)) === DIRTY) noteDirty(mm, pfn);
  dropLeaf(mm, pfn);
}

/** Marks the page of a file as written (folio_mark_dirty). Other frames are left alone. */
export function noteDirty(mm: Mm, pfn: number): void {
  if (pfn <= 0 || !mm.memory.has(pfn)) return; // damaged on purpose
  const flags = mm.pages.flags(pfn);
  if ((flags & (PG.ANON | PG.RESERVED | PG.DIRTY)) === 0) mm.pages.addFlags(pfn, PG.DIRTY);
}

/**
 * Drops the mapping and the reference that a leaf had on its frame (folio_remove_rmap_pte).
 * Reserved frames, such as zero pages and device memory, are not counted.
 */
export function dropLeaf(mm: Mm, pfn: number): void {
  if (pfn <= 0 || !mm.memory.has(pfn)) return; // damaged on purpose: nothing to drop
  if ((mm.pages.flags(pfn) & PG.RESERVED) !== 0) return;
  mm.pages.dropMapping(pfn);
  mm.allocator.put(pfn, mm.thread);
}
