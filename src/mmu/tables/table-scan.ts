/**
 * Finds the granules of a range that have leaves, by its upper page tables alone. The cost follows
 * the number of tables that exist, not the size of the range.
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

/** What `scanTables` calls. A granule or a bad entry may begin before the range or end after it. */
export interface TableVisitor {
  /** Called for a granule that has a page-table page or a huge leaf; `start` is its first page. */
  granule(start: number): void;
  /** Called for a bad entry above the PTEs, which spans pages [start, end). */
  bad(start: number, end: number): void;
}

/** The arguments of a scan. */
interface Scan {
  readonly context: TableContext;
  readonly from: number; // page
  readonly to: number;
  readonly visitor: TableVisitor;
  readonly isRunning: boolean;
}

/**
 * Visits, in ascending order, every granule with leaves that intersects pages [from, to). The mmap
 * lock is held in either mode, or the machine is frozen.
 *
 * With `isRunning`, page faults and reclaim go on meanwhile. They may replace a huge leaf, and its
 * entry is empty for an instant then. So tables of level 2 are read under their lock, and the
 * visitor must take no lock.
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

/** Number of empty entries from words[at] on, before the first one in use; at most `limit`. */
export function countEmpty(words: Int32Array, at: number, limit: number): number {
  const end = at + limit * 2;
  let next = at;
  while (next < end && words[next] === 0) next += 2;
  return (next - at) >> 1;
}
