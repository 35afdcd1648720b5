/** Moves the entries of one range to another (move_page_tables). mmap lock held for writing. */
import { GRANULE_PAGES } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, PageCursor, unlockTable, walk } from './page-table.ts';
import { clearEntry, replaceEntry, withSoftDirty } from './pte.ts';
import { ensureTables, openTable } from './shared-table.ts';
import { splitHuge } from './split-huge.ts';
import { skipHole } from './walk-range.ts';

/**
 * Moves the entries of `pages` pages from page `from` to page `to`: frames, swap slots and markers. The target has no entries yet. Throws ENOMEM when no frame is free for a table. The
 * entries that were moved by then stay at the target, and `progress.done` is the number of their
 * pages, from `from` on.
 */
export function moveEntries(
  mm: Mm,
  from: number,
  to: number,
  pages: number,
  progress: { done: number },
): void {
  mm.threads.assertHeld(mm.thread, RANK.MMAP_WRITE, 'entries are moved');
  const cursor = mm.cursor;
  const target = new PageCursor();
  while (progress.done < pages) {
    const vpn = from + progress.done;
    const found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'none' || found === 'bad') {
      progress.done = Math.min(pages, skipHole(vpn, cursor.level) - from);
      continue;
    }
    const there = to + progress.done;
    if (found === 'huge') {
      if (!moveHuge(mm, cursor, vpn, there, pages - progress.done, target)) continue;
      progress.done += GRANULE_PAGES;
      continue;
    }
    openTable(mm, vpn, cursor);
    // One step ends where the first of the two tables ends.
    const inFrom = GRANULE_PAGES - (vpn % GRANULE_PAGES);
    const inTo = GRANULE_PAGES - (there % GRANULE_PAGES);
    const count = Math.min(pages - progress.done, inFrom, inTo);
    moveTable(mm, cursor, there, count, target);
    progress.done += count;
  }
}

/**
 * Moves a huge leaf as a whole and returns true. Where that is impossible, splits it and returns
 * false, so that its 4 KiB leaves are moved next.
 */
function moveHuge(
  mm: Mm,
  cursor: PageCursor,
  vpn: number,
  there: number,
  pages: number,
  target: PageCursor,
): boolean {
  const isWhole = vpn % GRANULE_PAGES === 0 && there % GRANULE_PAGES === 0;
  if (isWhole && pages >= GRANULE_PAGES) {
    ensureTables(mm, mm.pgd, there, 2, target);
    if (target.words[target.at] === 0) {
      moveEntry(mm, cursor, cursor.at, target, target.at);
      return true;
    }
  }
  splitHuge(mm, cursor);
  return false;
}

/** Moves `count` entries of one table, from the cursor on. Makes no table if they are all empty. */
function moveTable(
  mm: Mm,
  cursor: PageCursor,
  there: number,
  count: number,
  target: PageCursor,
): void {
  const { words, at } = cursor;
  let isEmpty = true;
  for (let word = at; word < at + count * 2; word += 2) isEmpty &&= words[word] === 0;
  if (isEmpty) return;
  ensureTables(mm, mm.pgd, there, 1, target);
  for (let page = 0; page < count; page++) {
    const word = at + page * 2;
    if (words[word] !== 0) moveEntry(mm, cursor, word, target, target.at + page * 2);
  }
}

/**
 * Moves one entry, whose page is soft-dirty at its new place (move_soft_dirty_pte). One page-table lock at a time is enough: while the mmap lock is held for
 * writing, no other thread uses the entries, so none sees the state between the two steps.
 */
function moveEntry(mm: Mm, from: PageCursor, at: number, to: PageCursor, there: number): void {
  const low = from.words[at]!;
  const high = from.words[at + 1]!;
  lockTable(mm, from.table);
  clearEntry(from.words, at);
  unlockTable(mm, from.table);
  lockTable(mm, to.table);
  replaceEntry(to.words, there, withSoftDirty(low, high), high);
  unlockTable(mm, to.table);
}
