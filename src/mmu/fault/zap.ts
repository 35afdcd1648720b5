/**
 * Taking mappings out of the page tables (zap_page_range) and splitting huge leaves.
 * The mmap lock is held for writing.
 */
import { GRANULE_PAGES, granuleEnd, type Pfn } from '../../shared/page.ts';
import type { Mm } from '../mm.ts';
import { PG } from '../physical/page-struct.ts';
import {
  allocateTable,
  lockTable,
  type PageCursor,
  unlockTable,
  walk,
} from '../tables/page-table.ts';
import {
  clearEntry,
  highOf,
  isPresent,
  lowOf,
  PTE,
  pfnOf,
  setEntry,
  TABLE_ENTRY,
} from '../tables/pte.ts';

const { HUGE, NX_HIGH } = PTE;

/** Removes every leaf in [from, to) and drops what it referred to. */
export function zapRangeLocked(mm: Mm, from: number, to: number): void {
  const cursor = mm.cursor;
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    let found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'huge' && end - vpn < GRANULE_PAGES) {
      splitHugeLocked(mm, cursor);
      found = walk(mm, mm.pgd, vpn, cursor);
    }
    if (found === 'table') zapTable(mm, cursor, end - vpn);
    else if (found === 'huge') zapHuge(mm, cursor);
    vpn = found === 'none' || found === 'bad' ? skipHole(vpn, cursor.level) : end;
  }
}

/** First page after the part of the address space that the empty entry of `level` spans. */
export function skipHole(vpn: number, level: number): number {
  const span = 512 ** (level - 1);
  return (Math.floor(vpn / span) + 1) * span;
}

/** Removes `count` entries of a leaf table, from the cursor on. */
function zapTable(mm: Mm, cursor: PageCursor, count: number): void {
  const { words, table } = cursor;
  lockTable(mm, table);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    if (low === 0) continue;
    const high = words[at + 1]!;
    clearEntry(words, at);
    if (isPresent(low)) dropLeaf(mm, pfnOf(low, high));
  }
  unlockTable(mm, table);
}

function zapHuge(mm: Mm, cursor: PageCursor): void {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const first = pfnOf(words[at]!, words[at + 1]!);
  clearEntry(words, at);
  unlockTable(mm, table);
  for (let pfn = first; pfn < first + GRANULE_PAGES; pfn++) dropLeaf(mm, pfn);
}

/** One leaf less maps this frame. The zero page, device memory and the like are not counted. */
export function dropLeaf(mm: Mm, pfn: number): void {
  if (pfn <= 0 || pfn >= mm.memory.frames) return; // corrupted on purpose: nothing to drop
  if ((mm.pages.flags(pfn) & PG.RESERVED) !== 0) return;
  mm.pages.dropMapping(pfn);
  mm.allocator.put(pfn, mm.thread);
}

/** Replaces the huge leaf at the cursor by a table of 512 equal leaves (split_huge_pmd). */
export function splitHugeLocked(mm: Mm, cursor: PageCursor): void {
  const { words, at, table } = cursor;
  const fresh = allocateTable(mm, 1);
  const low = words[at]!;
  const high = words[at + 1]!;
  const first = pfnOf(low, high);
  const leaves = mm.memory.wordsOf(fresh);
  let leaf = mm.memory.wordAt(fresh);
  for (let pfn = first; pfn < first + GRANULE_PAGES; pfn++, leaf += 2) {
    setEntry(leaves, leaf, lowOf(pfn, low & 0xfff & ~HUGE), highOf(pfn, high & NX_HIGH));
    mm.pages.setFlags(pfn, mm.pages.flags(pfn) & ~PG.HUGE);
  }
  lockTable(mm, table);
  setEntry(words, at, lowOf(fresh, TABLE_ENTRY), highOf(fresh, 0));
  unlockTable(mm, table);
}

/** Splits the huge leaf that holds `vpn`, if there is one and `vpn` is not its first page. */
export function splitHugeAtLocked(mm: Mm, vpn: number): void {
  if (vpn % GRANULE_PAGES === 0) return;
  if (walk(mm, mm.pgd, vpn as Pfn, mm.cursor) === 'huge') splitHugeLocked(mm, mm.cursor);
}
