/** Walking the leaves of a range of pages (walk_page_range): the one loop over granules. */
import { GRANULE_PAGES, granuleEnd } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { walk } from './page-table.ts';
import { splitHugeLocked } from './split-huge.ts';

/** Pages [vpn, end) of one granule; the mm's cursor stands at the entry of `vpn`. It stops at false. */
export type LeavesVisit = (found: 'table' | 'huge', vpn: number, end: number) => unknown;

/**
 * Visits what has leaves in pages [from, to), ascending; the cost follows the tables that exist. With
 * `splits` a 2 MiB leaf that lies in the range only partly is split before it is visited: ENOMEM when
 * there is no frame for the table. mmap lock held in either mode.
 */
export function walkRange(
  mm: Mm,
  from: number,
  to: number,
  splits: boolean,
  visit: LeavesVisit,
): void {
  const { cursor } = mm;
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    let found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'huge' && splits && end - vpn < GRANULE_PAGES) {
      splitHugeLocked(mm, cursor);
      found = walk(mm, mm.pgd, vpn, cursor);
    }
    if (found === 'none' || found === 'bad') {
      vpn = skipHole(vpn, cursor.level);
      continue;
    }
    if (visit(found, vpn, end) === false) return;
    vpn = end;
  }
}

/** First page after the part of the address space that the empty entry of `level` spans. */
export function skipHole(vpn: number, level: number): number {
  const span = 512 ** (level - 1);
  return (Math.floor(vpn / span) + 1) * span;
}
