/** Setting the leaves of anonymous and file pages, and describing the frames behind them. */
import type { Pfn } from '../../shared/page.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import type { PageCursor } from '../tables/page-table.ts';
import { highOf, leafFlags, lowOf, replaceEntry } from '../tables/pte.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';

/** Writes the entry at the cursor for a VMA with these flags. Page-table lock held. */
export function setLeafLocked(
  cursor: PageCursor,
  pfn: number,
  flags: number,
  writable: boolean,
  dirty: boolean,
): void {
  const privileges = pagePrivileges(flags);
  const low = lowOf(pfn, leafFlags(privileges.low, writable, dirty));
  replaceEntry(cursor.words, cursor.at, low, highOf(pfn, privileges.high));
}

/** A frame that becomes an anonymous page of this mm at `vpn`, counted as mapped once. */
export function describeAnonymous(
  mm: Mm,
  slot: number,
  vpn: number,
  pfn: Pfn,
  extraFlags = 0,
): void {
  const flags = PG.ANON | PG.SWAPBACKED | extraFlags;
  mm.pages.describe(pfn, flags, prepareAnonVma(mm, slot), mm.vmas.fileIndex(slot, vpn));
  mm.pages.addMapping(pfn);
}
