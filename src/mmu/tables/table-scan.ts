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

/** What is being scanned for, and how. */
interface Scan {
  readonly context: TableContext;
  readonly from: number; // page
  readonly to: number;
  readonly visitor: TableVisitor;
  readonly isRunning: boolean;
}

/**
 * Visits, ascending, every granule with leaves that intersects pages [from, to).
 *
 * `isRunning`: page faults go on meanwhile. A table that replaces a huge leaf leaves no entry for an
 * instant, so the entries that may be one are looked at under their table's lock; the visitor must
 * take none then.
 */
export function scanTables(
  context: TableContext,
  pgd: Pfn,
  from: number,
  to: number,
  visitor: TableVisitor,
  isRunning = false,
): void {
  scanTable({ context, from, to, visitor, isRunning }, pgd, 4, 0);
}

function scanTable(scan: Scan, table: Pfn, level: number, base: number): void {
  if (!scan.isRunning || level !== 2) {
    scanEntries(scan, table, level, base);
    return;
  }
  lockTable(scan.context, table);
  try {
    scanEntries(scan, table, level, base);
  } finally {
    unlockTable(scan.context, table);
  }
}

function scanEntries(scan: Scan, table: Pfn, level: number, base: number): void {
  const { context, from, to, visitor } = scan;
  const words = context.memory.wordsOf(table);
  const first = context.memory.wordAt(table);
  const span = entrySpan(level);
  const start = Math.max(0, Math.floor((from - base) / span));
  const end = Math.min(512, Math.ceil((to - base) / span));
  for (let index = start; index < end; index++) {
    index += countEmpty(words, first + index * 2, end - index);
    if (index === end) return;
    const low = words[first + index * 2]!;
    const high = words[first + index * 2 + 1]!;
    const page = base + index * span;
    const isHuge = level === 2 && (low & HUGE) !== 0;
    const isBad = isHuge ? isBadHugeLeaf(low) : isBadTableEntry(context, low, high);
    if (isBad) visitor.bad(page, page + span);
    else if (level === 2) visitor.granule(page);
    else scanTable(scan, pfnOf(low, high) as Pfn, level - 1, page);
  }
}

/** How many of `limit` entries from words[at] on are empty, before the first that is not. */
export function countEmpty(words: Int32Array, at: number, limit: number): number {
  const end = at + limit * 2;
  let next = at;
  while (next < end && words[next] === 0) next += 2;
  return (next - at) >> 1;
}
