/**
 * Taking mappings out of the page tables (zap_page_range) and splitting huge leaves.
 * The mmap lock is held: for writing, or for reading where pages go but VMAs stay (MADV_DONTNEED).
 */
import { GRANULE_PAGES, granuleEnd, type Pfn } from '../../shared/page.ts';
import type { Mm } from '../mm.ts';
import { PG, ZERO_PAGE_PFN } from '../physical/page-struct.ts';
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
  isGuard,
  isPresent,
  lowOf,
  PTE,
  pfnOf,
  setEntry,
  TABLE_ENTRY,
} from '../tables/pte.ts';

const { HUGE, NX_HIGH, DIRTY, SPECIAL } = PTE;

/** Removes every leaf in [from, to) and drops what it referred to. */
export function zapRangeLocked(mm: Mm, from: number, to: number, keepGuards = false): void {
  const cursor = mm.cursor;
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    let found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'huge' && end - vpn < GRANULE_PAGES) {
      splitHugeLocked(mm, cursor);
      found = walk(mm, mm.pgd, vpn, cursor);
    }
    if (found === 'table') zapTable(mm, cursor, end - vpn, keepGuards);
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
function zapTable(mm: Mm, cursor: PageCursor, count: number, keepGuards: boolean): void {
  const { words, table } = cursor;
  lockTable(mm, table);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    if (low === 0) continue;
    const high = words[at + 1]!;
    if (keepGuards && isGuard(low, high)) continue;
    clearEntry(words, at);
    dropEntry(mm, low, high);
  }
  unlockTable(mm, table);
}

function zapHuge(mm: Mm, cursor: PageCursor): void {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const low = words[at]!;
  const first = pfnOf(low, words[at + 1]!);
  const isStillHuge = (low & HUGE) !== 0;
  if (isStillHuge) clearEntry(words, at);
  unlockTable(mm, table);
  if (!isStillHuge) return; // another thread was here, and nothing is mapped
  for (let pfn = first; pfn < first + GRANULE_PAGES; pfn++) dropLeaf(mm, pfn);
}

/** What a withdrawn 4 KiB entry referred to has one leaf less: a frame or a swap slot. */
function dropEntry(mm: Mm, low: number, high: number): void {
  if (!isPresent(low)) {
    const slot = mm.machine.swap.slotOf(low, high);
    if (slot >= 0) mm.machine.swap.put(slot);
    return;
  }
  const pfn = pfnOf(low, high);
  if ((low & (DIRTY | SPECIAL)) === DIRTY) noteDirty(mm, pfn);
  dropLeaf(mm, pfn);
}

/** A file's page was written through a leaf that now goes. */
export function noteDirty(mm: Mm, pfn: number): void {
  if (pfn <= 0 || pfn >= mm.memory.frames) return; // corrupted on purpose
  const flags = mm.pages.flags(pfn);
  if ((flags & (PG.ANON | PG.RESERVED | PG.DIRTY)) === 0) mm.pages.addFlags(pfn, PG.DIRTY);
}

/** One leaf less maps this frame. The zero page, device memory and the like are not counted. */
export function dropLeaf(mm: Mm, pfn: number): void {
  if (pfn <= 0 || pfn >= mm.memory.frames) return; // corrupted on purpose: nothing to drop
  if ((mm.pages.flags(pfn) & PG.RESERVED) !== 0) return;
  mm.pages.dropMapping(pfn);
  mm.allocator.put(pfn, mm.thread);
}

/**
 * Replaces the huge leaf at the cursor by a table of 512 leaves that show the same (split_huge_pmd);
 * the huge zero page becomes 512 times the zero page. No count changes: see page-struct.ts. ENOMEM
 * when there is no frame for the table.
 */
export function splitHugeLocked(mm: Mm, cursor: PageCursor): void {
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
  if (!isStillHuge) mm.allocator.put(fresh, mm.thread); // another thread was quicker
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

/** Splits the huge leaf that holds `vpn`, if there is one and `vpn` is not its first page. */
export function splitHugeAtLocked(mm: Mm, vpn: number): void {
  if (vpn % GRANULE_PAGES === 0) return;
  if (walk(mm, mm.pgd, vpn as Pfn, mm.cursor) === 'huge') splitHugeLocked(mm, mm.cursor);
}
