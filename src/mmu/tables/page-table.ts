/**
 * The four-level page tables of an mm, inside simulated frames.
 *
 *   level 4 (pgd) ─▶ level 3 (pud) ─▶ level 2 (pmd) ─▶ level 1 (PTEs) ─▶ frame
 *                                          └─ PSE ─▶ 512 frames
 *
 * Every table has a spin lock in its own page struct (rank PAGE_TABLE; a thread holds one at a
 * time), which protects the entries of the table. Tables are freed only under the mmap lock for
 * writing. So a thread that holds the mmap lock in either mode walks down without page-table locks,
 * and looks at a leaf again once it holds the lock of its table.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { hex, type Pfn } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import type { FrameAllocator } from '../physical/frame-allocator.ts';
import { type PageStructs, PG } from '../physical/page-struct.ts';
import type { PhysicalMemory } from '../physical/physical-memory.ts';
import { clearEntry, highOf, isPresent, lowOf, PTE, pfnOf, setEntry, TABLE_ENTRY } from './pte.ts';

const { PRESENT, HUGE, ACCESSED, DIRTY, USER, WRITE } = PTE;
/** Bits 12 to 20 of a 2 MiB leaf, which must be zero: its first frame is aligned to 2 MiB. */
const HUGE_RESERVED = 0x1ff000;
/** The low 12 bits that an entry that points to a table may have set. */
const TABLE_BITS = PRESENT | WRITE | USER | ACCESSED | DIRTY;

/**
 * Where a walk ended: at an empty entry above the bottom level ('none'), at a bad entry, at a 2 MiB
 * leaf, or in a table of the bottom level ('table'), whose entry may be empty.
 */
export type WalkEnd = 'none' | 'bad' | 'huge' | 'table';

/** Index of the entry of a virtual page in its table of `level`. */
export function tableIndex(vpn: number, level: number): number {
  if (level === 1) return vpn & 0x1ff;
  if (level === 2) return (vpn >>> 9) & 0x1ff;
  return Math.floor(vpn / (level === 3 ? 0x4_0000 : 0x800_0000)) & 0x1ff;
}

/** Number of pages that one entry of a table of `level` spans. */
export function entrySpan(level: number): number {
  return level === 1 ? 1 : level === 2 ? 0x200 : level === 3 ? 0x4_0000 : 0x800_0000;
}

/**
 * A position in the tables: the entry at which the last walk ended. Its thread reuses it for every
 * walk, so that a walk allocates nothing.
 */
export class PageCursor {
  words: Int32Array = EMPTY; // words of the bank that holds the table
  at = 0; //                    word index of the entry
  table: Pfn = 0 as Pfn; //     the table that holds the entry
  level = 0; //                 level of the table: 1 for a PTE, 2 for a huge leaf, up to 4
  /** Whether the table, a leaf table, has to be opened before an entry changes (shared-table.ts). */
  isProtected = false;

  /** Called after an operation, so that an unused cursor keeps no memory of a closed machine. */
  dropViews(): void {
    this.words = EMPTY;
  }
}

const EMPTY = new Int32Array(2);

/** What table functions need: the memory of the tables, and the thread that works on them. */
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

/** Allocates an empty table with one reference. Throws ENOMEM when no frame is free. */
export function allocateTable(context: TableContext, level: number): Pfn {
  const pfn = context.allocator.allocateZeroed(context.thread);
  context.pages.describe(pfn, PG.TABLE, 0, 0);
  context.pages.setPrevious(pfn, level);
  return pfn;
}

/**
 * Whether an entry that should point to a table is bad (pmd_bad, pud_bad): it is not present, has
 * reserved bits set, or points to a frame that is no table.
 */
export function isBadTableEntry(context: TableContext, low: number, high: number): boolean {
  if ((low & PRESENT) === 0 || (low & 0xfff & ~TABLE_BITS) !== 0) return true;
  if ((high & ~0xfffff) !== 0) return true;
  const pfn = pfnOf(low, high);
  return pfn <= 0 || pfn >= context.memory.frames || (context.pages.flags(pfn) & PG.TABLE) === 0;
}

/**
 * Whether a 2 MiB leaf is bad: it must be present, and the address bits below 2 MiB are reserved.
 * The processor ignores bits 52 to 62, as in any leaf.
 */
export function isBadHugeLeaf(low: number): boolean {
  return !isPresent(low) || (low & HUGE_RESERVED) !== 0;
}

/**
 * Walks down to the entry of `vpn` in its table of level `bottom`. The cursor is left at the last
 * entry that was looked at. Takes no page-table lock: the mmap lock is held in either mode, or the
 * machine is frozen.
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
    cursor.isProtected = (low & WRITE) === 0;
    table = pfnOf(low, high) as Pfn;
  }
  return 'none';
}

/**
 * Makes the tables of `vpn` that are missing down to level `bottom` (1, or 2 for a huge leaf), and
 * leaves the cursor at the entry there (__pte_alloc). Returns 'huge' when a huge leaf is in the way
 * of level 1; the cursor is left at that leaf. Throws ENOMEM when no frame is free, and EFAULT at a
 * bad entry. The mmap lock is held in either mode. Who changes entries calls `ensureTables` instead
 * (`shared-table.ts`).
 */
export function makeTables(
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
    cursor.isProtected = (low & WRITE) === 0;
    table = pfnOf(low, high) as Pfn;
  }
}

/** Fills an empty entry with a new table, unless another thread was faster. */
function addTable(context: TableContext, cursor: PageCursor, level: number): void {
  const fresh = allocateTable(context, level);
  lockTable(context, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setEntry(cursor.words, cursor.at, lowOf(fresh, TABLE_ENTRY), highOf(fresh, 0));
  unlockTable(context, cursor.table);
  if (!free) context.allocator.put(fresh, context.thread);
}

/** Takes the page-table lock of `table` (pte_lockptr). It protects the entries of the table. */
export function lockTable(context: TableContext, table: Pfn): void {
  const { pages, threads, thread, mayBlock } = context;
  spinLock(pages.words, pages.lockWord(table), thread, RANK.PAGE_TABLE, threads, mayBlock);
}

/** Releases the page-table lock of `table`. */
export function unlockTable(context: TableContext, table: Pfn): void {
  const { pages, threads, thread } = context;
  spinUnlock(pages.words, pages.lockWord(table), thread, RANK.PAGE_TABLE, threads);
}

/** Whether other mms have the leaf table, too. The mmap lock is held in either mode. */
export function isShared({ pages }: TableContext, table: Pfn): boolean {
  return pages.references(table) > 1;
}

/**
 * Drops this mm's reference to a leaf table if others have it, too, and returns whether it did. The
 * caller clears the entry that points to it. The mmap lock is held for writing.
 */
export function dropShared(context: TableContext, table: Pfn): boolean {
  if (!isShared(context, table)) return false;
  lockTable(context, table);
  const drops = isShared(context, table);
  if (drops) context.pages.dropReference(table);
  unlockTable(context, table);
  return drops;
}

/** The pages [from, to) that were unmapped, and the hole between VMAs that they lie in. */
export interface Hole {
  readonly from: number;
  readonly to: number;
  readonly floor: number;
  readonly ceiling: number;
}

/**
 * Frees the tables that span pages of [from, to) and none outside the hole, which is
 * [floor, ceiling) (free_pgtables). The mmap lock is held for writing, and the leaf tables of the
 * hole are empty.
 */
export function freeTables(context: TableContext, pgd: Pfn, hole: Hole): void {
  context.threads.assertHeld(context.thread, RANK.MMAP_WRITE, 'page tables are freed');
  freeBelow(context, pgd, 4, 0, hole);
}

/** Frees tables below `table`, a table of `level` whose first page is `base`. */
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
    if (isBadTableEntry(context, low, high)) continue; // damaged on purpose: left alone
    const child = pfnOf(low, high) as Pfn;
    const childBase = base + index * span;
    if (level > 2) freeBelow(context, child, level - 1, childBase, hole);
    if (childBase < hole.floor || childBase + span > hole.ceiling) continue;
    lockTable(context, table);
    clearEntry(words, at);
    unlockTable(context, table);
    if (!dropShared(context, child)) context.allocator.put(child, context.thread);
  }
}
