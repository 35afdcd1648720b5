/** Setting leaves of anonymous and file pages, and filling in the page structs of their frames. */
import type { Pfn } from '../../shared/page.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import type { PageCursor } from '../tables/page-table.ts';
import { highOf, leafFlags, lowOf, PTE, replaceEntry } from '../tables/pte.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';

/**
 * Writes the leaf at the cursor for a VMA with `flags`. A dirty leaf is soft-dirty unless `isSoft`
 * says otherwise. The caller holds the page-table lock.
 */
export function setLeaf(
  cursor: PageCursor,
  pfn: number,
  flags: number,
  writable: boolean,
  dirty: boolean,
  isSoft: boolean = dirty,
): void {
  const privileges = pagePrivileges(flags);
  const bits = leafFlags(privileges.low, writable, dirty) & ~PTE.SOFT_DIRTY;
  const low = lowOf(pfn, isSoft ? bits | PTE.SOFT_DIRTY : bits);
  replaceEntry(cursor.words, cursor.at, low, highOf(pfn, privileges.high));
}

/**
 * Describes the frame as the anonymous page at `vpn` of the VMA in `slot`, and counts one mapping
 * of it. The VMA gets an anon_vma if it has none.
 */
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
