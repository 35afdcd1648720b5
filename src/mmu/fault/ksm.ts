/** Pages merged by content (mm/ksm.c): one frame, mapped read-only wherever it appears. */
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm.ts';
import { PG } from '../physical/page-struct.ts';
import { ensureTables, lockTable, unlockTable, walk } from '../tables/page-table.ts';
import { highOf, leafFlags, lowOf, PTE, pfnOf, setEntry } from '../tables/pte.ts';

/** Maps the frame of the present page `first` at the absent pages `others`. mmap lock held. */
export function mapMergedLocked(mm: Mm, first: number, others: readonly number[]): void {
  const { cursor, pages } = mm;
  if (walk(mm, mm.pgd, first, cursor) !== 'table') return;
  lockTable(mm, cursor.table);
  const low = cursor.words[cursor.at]!;
  const high = cursor.words[cursor.at + 1]!;
  setEntry(cursor.words, cursor.at, low & ~PTE.WRITE, high);
  unlockTable(mm, cursor.table);
  const pfn = pfnOf(low, high);
  pages.addFlags(pfn, PG.KSM);
  for (const vpn of others) {
    const privileges = pagePrivileges(mm.vmas.flags(mm.vmas.lookup(vpn)));
    const bits = leafFlags(privileges.low, false, false);
    ensureTables(mm, mm.pgd, vpn, 1, cursor);
    pages.get(pfn);
    pages.addMapping(pfn);
    lockTable(mm, cursor.table);
    setEntry(cursor.words, cursor.at, lowOf(pfn, bits), highOf(pfn, privileges.high));
    unlockTable(mm, cursor.table);
  }
}
