/**
 * Finding what is present without visiting what is not: the upper page tables of a range. The cost
 * follows the tables that exist, never the size of the range.
 */
import type { Pfn } from '../../shared/page.ts';
import {
  entrySpan,
  isBadHugeLeaf,
  isBadTableEntry,
  lockTable,
  type TableContext,
  unlockTable,
} from './page-table.ts';
import { PTE, pfnOf } from './pte.ts';

const { HUGE } = PTE;

export interface TableVisitor {
  /** A granule that has a page-table page or a huge leaf; `start` is its first page. */
  granule(start: number): void;
  /** An entry above the PTEs with reserved bits set; it spans pages [start, end). */
  bad(start: number, end: number): void;
}

/** Visits, ascending, every granule with leaves that intersects pages [from, to). */
export function scanTables(
  context: TableContext,
  pgd: Pfn,
  from: number,
  to: number,
  visitor: TableVisitor,
): void {
  scanTable(context, pgd, 4, 0, from, to, visitor, false);
}

/**
 * The same while page faults go on. A table that replaces a huge leaf leaves no entry for an instant:
 * so the entries that may be one are looked at under their table's lock. The visitor must take none.
 */
export function scanRunningTables(
  context: TableContext,
  pgd: Pfn,
  from: number,
  to: number,
  visitor: TableVisitor,
): void {
  scanTable(context, pgd, 4, 0, from, to, visitor, true);
}

function scanTable(
  context: TableContext,
  table: Pfn,
  level: number,
  base: number,
  from: number,
  to: number,
  visitor: TableVisitor,
  isRunning: boolean,
): void {
  if (!isRunning || level !== 2) {
    scanEntries(context, table, level, base, from, to, visitor, isRunning);
    return;
  }
  lockTable(context, table);
  try {
    scanEntries(context, table, level, base, from, to, visitor, isRunning);
  } finally {
    unlockTable(context, table);
  }
}

function scanEntries(
  context: TableContext,
  table: Pfn,
  level: number,
  base: number,
  from: number,
  to: number,
  visitor: TableVisitor,
  isRunning: boolean,
): void {
  const words = context.memory.wordsOf(table);
  const first = context.memory.wordAt(table);
  const span = entrySpan(level);
  const start = Math.max(0, Math.floor((from - base) / span));
  const end = Math.min(512, Math.ceil((to - base) / span));
  for (let index = start; index < end; index++) {
    const low = words[first + index * 2]!;
    if (low === 0) continue;
    const high = words[first + index * 2 + 1]!;
    const page = base + index * span;
    const isHuge = level === 2 && (low & HUGE) !== 0;
    const isBad = isHuge ? isBadHugeLeaf(low) : isBadTableEntry(context, low, high);
    if (isBad) visitor.bad(page, page + span);
    else if (level === 2) visitor.granule(page);
    else {
      const below = pfnOf(low, high) as Pfn;
      scanTable(context, below, level - 1, page, from, to, visitor, isRunning);
    }
  }
}
