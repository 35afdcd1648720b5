/**
 * The four-level page tables of an mm, inside simulated frames.
 *
 *   level 4 (pgd) ─▶ level 3 (pud) ─▶ level 2 (pmd) ─▶ level 1 (PTEs) ─▶ frame
 *                                          └─ PSE ─▶ 512 frames
 *
 * Every table has a spin lock in its own page struct (rank PAGE_TABLE; one at a time). Entries of a
 * table are written under its lock; tables are freed only under the mmap lock for writing, so
 * whoever holds that lock in either mode may walk down without locks and must look at a leaf again
 * once it has its lock.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { hex, type Pfn } from '../../shared/page.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import { RANK, type ThreadTable } from '../../shared/sync/thread-table.ts';
import type { FrameAllocator } from '../physical/frame-allocator.ts';
import { type PageStructs, PG } from '../physical/page-struct.ts';
import type { PhysicalMemory } from '../physical/physical-memory.ts';
import { clearEntry, highOf, isPresent, lowOf, PTE, pfnOf, setEntry, TABLE_ENTRY } from './pte.ts';

const { PRESENT, HUGE, ACCESSED, DIRTY, USER, WRITE } = PTE;
/** Address bits 12 to 20 of a 2 MiB leaf. */
const HUGE_RESERVED = 0x1ff000;
/** Everything that a table entry may have set in its low 12 bits. */
const TABLE_BITS = PRESENT | WRITE | USER | ACCESSED | DIRTY;

/** What a walk ended at. */
export type WalkEnd = 'none' | 'bad' | 'huge' | 'table';

/** Index into the table of `level` for a virtual page. */
export function tableIndex(vpn: number, level: number): number {
  if (level === 1) return vpn & 0x1ff;
  if (level === 2) return (vpn >>> 9) & 0x1ff;
  return Math.floor(vpn / (level === 3 ? 0x4_0000 : 0x800_0000)) & 0x1ff;
}

/** Pages that one entry of a table of `level` spans. */
export function entrySpan(level: number): number {
  return level === 1 ? 1 : level === 2 ? 0x200 : level === 3 ? 0x4_0000 : 0x800_0000;
}

/**
 * A place in the tables: the entry that `walk` found. Reused by its thread, so that a walk
 * allocates nothing.
 */
export class PageCursor {
  words: Int32Array = EMPTY; // of the bank that holds the table
  at = 0; //                    word index of the entry
  table: Pfn = 0 as Pfn; //     the table that holds the entry
  level = 0; //                 its level: 1, or 2 for a huge leaf

  /** Between two operations: an object that lies around keeps no memory of a closed machine. */
  letGo(): void {
    this.words = EMPTY;
  }
}

const EMPTY = new Int32Array(2);

/** Where the tables live and who serialises changes; one per attached thread. */
export interface TableContext {
  readonly memory: PhysicalMemory;
  readonly pages: PageStructs;
  readonly allocator: FrameAllocator;
  readonly threads: ThreadTable;
  /** Id of the calling thread in the thread table. */
  readonly thread: number;
  /** Whether the calling thread may sleep; the main thread must not. */
  readonly mayBlock: boolean;
}

/** A fresh, empty table with one reference. */
export function allocateTable(context: TableContext, level: number): Pfn {
  const pfn = context.allocator.allocateZeroed(context.thread);
  context.pages.describe(pfn, PG.TABLE, 0, 0);
  context.pages.setPrevious(pfn, level);
  return pfn;
}

/** pmd_bad and its sisters: not present, reserved bits set, or not pointing to a table. */
export function isBadTableEntry(context: TableContext, low: number, high: number): boolean {
  if ((low & PRESENT) === 0 || (low & 0xfff & ~TABLE_BITS) !== 0) return true;
  if ((high & ~0xfffff) !== 0) return true;
  const pfn = pfnOf(low, high);
  return pfn <= 0 || pfn >= context.memory.frames || (context.pages.flags(pfn) & PG.TABLE) === 0;
}

/**
 * A 2 MiB leaf must be present and aligned: the address bits below 2 MiB are reserved. Bits 52 to 62
 * mean nothing to the processor, as in any leaf.
 */
export function isBadHugeLeaf(low: number): boolean {
  return !isPresent(low) || (low & HUGE_RESERVED) !== 0;
}

/**
 * Goes down to the leaf level for `vpn`, or to `bottom`. The cursor stands at the last entry that was
 * looked at.
 */
export function walk(
  context: TableContext,
  pgd: Pfn,
  vpn: number,
  cursor: PageCursor,
  bottom = 1,
): WalkEnd {
  let table = pgd;
  for (let level = 4; level > 0; level--) {
    cursor.words = context.memory.wordsOf(table);
    cursor.at = context.memory.wordAt(table) + tableIndex(vpn, level) * 2;
    cursor.table = table;
    cursor.level = level;
    if (level === bottom) return 'table';
    const low = cursor.words[cursor.at]!;
    const high = cursor.words[cursor.at + 1]!;
    if (low === 0) return 'none';
    if (level === 2 && (low & HUGE) !== 0) return isBadHugeLeaf(low) ? 'bad' : 'huge';
    if (isBadTableEntry(context, low, high)) return 'bad';
    table = pfnOf(low, high) as Pfn;
  }
  return 'none';
}

/**
 * Makes the tables for `vpn` down to `bottom` (1, or 2 for a huge leaf) and leaves the cursor at
 * its entry there. Returns 'huge' when a huge leaf is in the way of level 1.
 */
export function ensureTables(
  context: TableContext,
  pgd: Pfn,
  vpn: number,
  bottom: number,
  cursor: PageCursor,
): 'table' | 'huge' {
  let table = pgd;
  for (let level = 4; ; level--) {
    cursor.words = context.memory.wordsOf(table);
    cursor.at = context.memory.wordAt(table) + tableIndex(vpn, level) * 2;
    cursor.table = table;
    cursor.level = level;
    if (level === bottom) return 'table';
    let low = cursor.words[cursor.at]!;
    if (low === 0) {
      addTable(context, cursor, level - 1);
      low = cursor.words[cursor.at]!;
    }
    if (level === 2 && (low & HUGE) !== 0) return 'huge';
    const high = cursor.words[cursor.at + 1]!;
    if (isBadTableEntry(context, low, high)) {
      throw new MmdumpError('EFAULT', `bad page-table entry for page ${hex(vpn * 4096)}`, {
        address: vpn * 4096,
      });
    }
    table = pfnOf(low, high) as Pfn;
  }
}

/** Fills an empty entry with a new table, unless another thread was quicker. */
function addTable(context: TableContext, cursor: PageCursor, level: number): void {
  const fresh = allocateTable(context, level);
  lockTable(context, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setEntry(cursor.words, cursor.at, lowOf(fresh, TABLE_ENTRY), highOf(fresh, 0));
  unlockTable(context, cursor.table);
  if (!free) context.allocator.put(fresh, context.thread);
}

export function lockTable(context: TableContext, table: Pfn): void {
  const { pages, threads, thread, mayBlock } = context;
  spinLock(pages.words, pages.lockWord(table), thread, RANK.PAGE_TABLE, threads, mayBlock);
}

export function unlockTable(context: TableContext, table: Pfn): void {
  const { pages, threads, thread } = context;
  spinUnlock(pages.words, pages.lockWord(table), thread, RANK.PAGE_TABLE, threads);
}

/** Pages [from, to) were unmapped; they lie in a hole between VMAs, [floor, ceiling). */
export interface Hole {
  readonly from: number;
  readonly to: number;
  readonly floor: number;
  readonly ceiling: number;
}

/**
 * Frees the tables that span pages of [from, to) and nothing beyond the hole (free_pgtables). The
 * caller holds the mmap lock for writing and has emptied all leaves of the hole.
 */
export function freeTablesLocked(context: TableContext, pgd: Pfn, hole: Hole): void {
  freeBelow(context, pgd, 4, 0, hole);
}

/** Frees tables below `table`, which is of `level` and spans pages from `base` on. */
function freeBelow(
  context: TableContext,
  table: Pfn,
  level: number,
  base: number,
  hole: Hole,
): void {
  const words = context.memory.wordsOf(table);
  const first = context.memory.wordAt(table);
  const span = entrySpan(level);
  const start = Math.max(0, Math.floor((hole.from - base) / span));
  const end = Math.min(512, Math.ceil((hole.to - base) / span));
  for (let index = start; index < end; index++) {
    const at = first + index * 2;
    const low = words[at]!;
    const high = words[at + 1]!;
    if (low === 0 || (level === 2 && (low & HUGE) !== 0)) continue;
    if (isBadTableEntry(context, low, high)) continue; // corrupted on purpose: leave it alone
    const child = pfnOf(low, high) as Pfn;
    const childBase = base + index * span;
    if (level > 2) freeBelow(context, child, level - 1, childBase, hole);
    if (childBase < hole.floor || childBase + span > hole.ceiling) continue;
    lockTable(context, table);
    clearEntry(words, at);
    unlockTable(context, table);
    context.allocator.put(child, context.thread);
  }
}
