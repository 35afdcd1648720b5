/** Sets backed entries: pages that a machine has from the start, although they lie elsewhere. */
import { assert } from '../../shared/assert.ts';
import type { Mm } from '../mm/mm.ts';
import { ensureTables, lockTable, unlockTable } from '../tables/page-table.ts';
import { backedHigh, backedLow, setEntry } from '../tables/pte.ts';

/**
 * Gives `count` pages from `vpn` on, which lie in one granule, the pages of a backing from `place`
 * on. Nothing is mapped there yet. Throws ENOMEM if there is no frame for a page table. The mmap
 * lock is held in either mode.
 */
export function mapBacked(
  mm: Mm,
  vpn: number,
  count: number,
  backing: number,
  place: number,
): void {
  const { cursor } = mm;
  ensureTables(mm, mm.pgd, vpn, 1, cursor);
  const { words, table } = cursor;
  lockTable(mm, table);
  for (let page = 0; page < count; page++) {
    const at = cursor.at + page * 2;
    assert(words[at] === 0, 'a page gets a backing where one is mapped already');
    setEntry(words, at, backedLow(place + page), backedHigh(backing, place + page));
  }
  unlockTable(mm, table);
}
