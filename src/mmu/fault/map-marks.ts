/**
 * Sets entries that need no frame of their own, in an mm that is being restored: zero pages and
 * guard markers. Nothing is mapped there yet. The mmap lock is held in either mode. Throws ENOMEM if
 * there is no frame for a page table; nothing has changed then.
 */
import { assert } from '../../shared/assert.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { ZERO_PAGE_PFN } from '../physical/page-struct.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import {
  highOf,
  leafFlags,
  lowOf,
  MARKER,
  MARKER_HIGH,
  markerLow,
  setEntries,
} from '../tables/pte.ts';
import { ensureTables } from '../tables/shared-table.ts';
import { countEmpty } from '../tables/table-scan.ts';
import { noteGuards } from './guard.ts';

/** Maps the zero page at `count` pages from `vpn` on, which lie in one granule. */
export function mapZeroPages(mm: Mm, vpn: number, count: number): void {
  const privileges = pagePrivileges(mm.vmas.flags(mm.vmas.lookup(vpn)));
  const low = lowOf(ZERO_PAGE_PFN, leafFlags(privileges.low, false, false));
  setAll(mm, vpn, count, low, highOf(ZERO_PAGE_PFN, privileges.high));
}

/** Makes `count` pages from `vpn` on, which lie in one granule, guard pages. */
export function mapGuards(mm: Mm, vpn: number, count: number): void {
  noteGuards(mm, mm.vmas.lookup(vpn));
  setAll(mm, vpn, count, markerLow(MARKER.GUARD), MARKER_HIGH);
}

function setAll(mm: Mm, vpn: number, count: number, low: number, high: number): void {
  const { cursor } = mm;
  ensureTables(mm, mm.pgd, vpn, 1, cursor);
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const isEmpty = countEmpty(words, at, count) === count;
  if (isEmpty) setEntries(words, at, count, low, high, 0);
  unlockTable(mm, table);
  assert(isEmpty, 'a page is set where one is mapped already');
}
