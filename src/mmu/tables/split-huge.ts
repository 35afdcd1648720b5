/** Splits 2 MiB leaves (split_huge_pmd). The mmap lock is held in either mode. */
import { GRANULE_PAGES, type Pfn } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { PG, ZERO_PAGE_PFN } from '../physical/page-struct.ts';
import { allocateTable, lockTable, type PageCursor, unlockTable, walk } from './page-table.ts';
import { highOf, isPresent, lowOf, PTE, pfnOf, setEntry, TABLE_ENTRY } from './pte.ts';

const { HUGE, NX_HIGH } = PTE;

/**
 * Replaces the huge leaf at the cursor by a table of 512 leaves that map the same frames. The huge
 * zero page becomes 512 leaves of the zero page. No count changes (`page-struct.ts`). Does nothing
 * if another thread has split the leaf or taken it away. Throws ENOMEM when no frame is free for
 * the table.
 */
export function splitHuge(mm: Mm, cursor: PageCursor): void {
  const { words, at, table } = cursor;
  const fresh = allocateTable(mm, 1);
  lockTable(mm, table);
  const low = words[at]!;
  const high = words[at + 1]!;
  const isStillHuge = (low & HUGE) !== 0 && isPresent(low);
  if (isStillHuge) {
    fillSplitTable(mm, fresh, low, high);
    setEntry(words, at, lowOf(fresh, TABLE_ENTRY), highOf(fresh, 0));
  }
  unlockTable(mm, table);
  if (!isStillHuge) mm.allocator.put(fresh, mm.thread); // another thread was faster
}

function fillSplitTable(mm: Mm, table: Pfn, low: number, high: number): void {
  const first = pfnOf(low, high);
  const isZero = first < mm.memory.frames && (mm.pages.flags(first) & PG.ZERO) !== 0;
  const leaves = mm.memory.wordsOf(table);
  const bits = low & 0xfff & ~HUGE;
  const at = mm.memory.wordAt(table);
  for (let page = 0; page < GRANULE_PAGES; page++) {
    const pfn = isZero ? ZERO_PAGE_PFN : first + page;
    setEntry(leaves, at + page * 2, lowOf(pfn, bits), highOf(pfn, high & NX_HIGH));
  }
}

/**
 * Splits the huge leaf that maps `vpn`, if there is one and `vpn` is not its first page. Throws
 * ENOMEM when no frame is free for the table.
 */
export function splitHugeAt(mm: Mm, vpn: number): void {
  if (vpn % GRANULE_PAGES === 0) return;
  if (walk(mm, mm.pgd, vpn as Pfn, mm.cursor) === 'huge') splitHuge(mm, mm.cursor);
}
