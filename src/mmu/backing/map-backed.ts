/** Sets backed entries: pages that a machine has from the start, although they lie elsewhere. */
import { assert } from '../../shared/assert.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import {
  backedHigh,
  backedLow,
  NEXT_PLACE,
  PLACES_OF_LOW,
  PTE,
  setEntries,
} from '../tables/pte.ts';
import { ensureTables } from '../tables/shared-table.ts';
import { countEmpty } from '../tables/table-scan.ts';

/**
 * Gives `count` pages from `vpn` on, which lie in one granule, the pages of a backing from `place`
 * on. `isMerged`: KSM has merged them. Nothing is mapped there yet. Throws ENOMEM if there is no
 * frame for a page table, and WantsWriteLock. The mmap lock is held in either mode.
 */
export function mapBacked(
  mm: Mm,
  vpn: number,
  count: number,
  backing: number,
  place: number,
  isMerged = false,
): void {
  const { cursor } = mm;
  ensureTables(mm, mm.pgd, vpn, 1, cursor);
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const isEmpty = countEmpty(words, at, count) === count;
  for (let done = 0; isEmpty && done < count; ) {
    // The low half of a place begins anew every 2^20 pages.
    const from = place + done;
    const pages = Math.min(count - done, PLACES_OF_LOW - (from % PLACES_OF_LOW));
    const low = backedLow(from) | (isMerged ? PTE.MERGED : 0);
    setEntries(words, at + done * 2, pages, low, backedHigh(backing, from), NEXT_PLACE);
    done += pages;
  }
  unlockTable(mm, table);
  assert(isEmpty, 'a page gets a backing where one is mapped already');
}
