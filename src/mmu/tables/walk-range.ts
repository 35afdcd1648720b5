/** Walks the leaves of a range (walk_page_range): the loop over granules that many calls share. */
import { GRANULE_PAGES, granuleEnd } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { walk } from './page-table.ts';
import { openTable } from './shared-table.ts';
import { splitHuge } from './split-huge.ts';

/**
 * What the visits do. 'look': they change no entry, or only what a shared table may have changed,
 * or they open tables themselves. 'change': leaf tables are opened before they are visited, which
 * throws ENOMEM or WantsWriteLock. 'split': in addition, a 2 MiB leaf that lies only partly in the
 * range is split before, which throws ENOMEM when no frame is free for the table.
 */
export type LeavesUse = 'look' | 'change' | 'split';

/**
 * Called for the pages [vpn, end) of one granule, with the mm's cursor at the entry of `vpn`. If it
 * returns false, the walk ends. If it returns 'again', the tables have changed since the walk, and
 * the same pages are looked up and visited once more.
 */
export type LeavesVisit = (found: 'table' | 'huge', vpn: number, end: number) => unknown;

/**
 * Visits the granules of pages [from, to) that have a leaf table or a 2 MiB leaf, in ascending
 * order. Bad entries are skipped. The cost follows the tables that exist, not the size of the
 * range. Throws ENOMEM and WantsWriteLock as `use` says. The mmap lock is held in either mode.
 */
export function walkRange(
  mm: Mm,
  from: number,
  to: number,
  use: LeavesUse,
  visit: LeavesVisit,
): void {
  const { cursor } = mm;
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    let found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'huge' && use === 'split' && end - vpn < GRANULE_PAGES) {
      splitHuge(mm, cursor);
      found = walk(mm, mm.pgd, vpn, cursor);
    }
    if (found === 'table' && use !== 'look') openTable(mm, vpn, cursor);
    if (found === 'none' || found === 'bad') {
      vpn = skipHole(vpn, cursor.level);
      continue;
    }
    const told = visit(found, vpn, end);
    if (told === false) return;
    if (told !== 'again') vpn = end;
  }
}

/** First page after the span of the entry of `level` that covers `vpn`. */
export function skipHole(vpn: number, level: number): number {
  const span = 512 ** (level - 1);
  return (Math.floor(vpn / span) + 1) * span;
}
