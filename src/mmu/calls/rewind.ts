/**
 * The way back to a snapshot (`snapshot.ts`). Only what differs is put back:
 *
 *   level-2 entry of the mm          what is done
 *   protected, and BASE is this      nothing: no entry below it has changed since the snapshot
 *   the clone's own table            nothing: both share it
 *   another table                    its 512 entries are compared, and those that differ are put back
 *   none, huge or shared with others it is dropped, and the clone's table is shared
 *
 * So the cost follows the tables below which something was written. Afterwards all tables are
 * protected again. What is put back counts as written (`dirty.ts`).
 *
 * The mmap lock of the mm is held for writing, so no other thread walks its tables: entries change
 * by plain stores, without page-table locks. A dump may read the clone meanwhile. In the clone only
 * write permissions of leaves go, and soft-dirty bits come.
 */
import type { Pfn } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';
import { allocateTable, dropShared, isShared } from '../tables/page-table.ts';
import { highOf, isPresent, lowOf, PTE, pfnOf, TABLE_ENTRY, withSoftDirty } from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { shareEntry } from '../tables/shared-table.ts';
import { dropEntry, dropLeaf } from '../tables/zap.ts';
import { type AdoptedRewind, beginRewind, noteRewound, rewindAdopted } from './rewind-adopted.ts';
import { rewindVmas } from './rewind-vmas.ts';
import {
  copyFields,
  copyHuge,
  HAS_COPIES,
  restoreLdt,
  shareTable,
  upperEntry,
} from './snapshot.ts';

const { WRITE, HUGE, ACCESSED, DIRTY, SOFT_DIRTY, ADOPTED_COPY } = PTE;
const TABLE_WORDS = 1024;
/** Bits of an entry on which no content depends. Bit 11 has another meaning if it is not present. */
const NOTES = ACCESSED | DIRTY | WRITE;

/**
 * Does everything in a rewind that can fail: throws ENOMEM, and BANK_UNREACHABLE if the clone has
 * copies of adopted memory that is not shared and that this thread does not reach. No page of the mm
 * has changed then.
 */
export function prepareRewind(mm: Mm, clone: Mm): void {
  mm.threads.assertHeld(mm.thread, RANK.MMAP_WRITE, 'an mm is rewound');
  makeUpperTables(mm, mm.pgd, clone.pgd, 4);
}

/** What the functions below have to know of a rewind. */
interface Rewind extends AdoptedRewind {
  /** Whether the protected tables of the mm are those of the clone. */
  readonly isBase: boolean;
}

/**
 * Makes the mm what it was when its clone was taken, for the snapshot `id`. `prepareRewind` was
 * called under the same lock. With `trustsMarks`, adopted pages that have not changed by their marks
 * are not compared.
 */
export function rewindMm(mm: Mm, clone: Mm, id: number, trustsMarks: boolean): void {
  const { BASE } = MM_FIELD;
  revokeTranslations(mm);
  rewindVmas(mm, clone);
  copyFields(clone, mm);
  restoreLdt(clone, mm);
  const adopted = beginRewind(mm, clone, trustsMarks);
  rewindTable(mm, mm.pgd, clone.pgd, 4, { ...adopted, isBase: mm.struct.get(BASE) === id });
  noteRewound(clone, adopted);
  mm.struct.set(BASE, id);
}

/**
 * Makes the tables that the mm lacks above level 1, and those of level 1 that will show adopted
 * pages. It is all for which a rewind needs frames, unless a huge page is in the way of the latter:
 * that gives frames back first.
 */
function makeUpperTables(mm: Mm, table: Pfn, clones: Pfn, level: number): void {
  if (level === 2 && mm.machine.adoptedMarks === undefined) return;
  const { memory } = mm;
  const words = memory.wordsOf(table);
  const from = memory.wordsOf(clones);
  const first = memory.wordAt(table);
  const offset = memory.wordAt(clones) - first;
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    const low = from[at + offset]!;
    const high = from[at + offset + 1]!;
    if (upperEntry(mm, level, low, high) !== 'table') continue;
    const is = upperEntry(mm, level, words[at]!, words[at + 1]!);
    if (level === 2) {
      if (mm.pages.mapping(pfnOf(low, high)) !== HAS_COPIES) continue;
      assertReachable(mm, pfnOf(low, high) as Pfn);
      if (is === 'huge') continue;
    }
    if (is !== 'table') {
      const fresh = allocateTable(mm, level - 1);
      words[at + 1] = highOf(fresh, 0);
      words[at] = lowOf(fresh, TABLE_ENTRY);
    }
    if (level === 2) continue;
    const lower = pfnOf(words[at]!, words[at + 1]!) as Pfn;
    makeUpperTables(mm, lower, pfnOf(low, high) as Pfn, level - 1);
  }
}

/** Throws BANK_UNREACHABLE as `prepareRewind` does, for the copies of one leaf table of the clone. */
function assertReachable({ memory, pages }: Mm, table: Pfn): void {
  if (memory.firstUnshared === memory.frames) return;
  const words = memory.wordsOf(table);
  const first = memory.wordAt(table);
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    const low = words[at]!;
    if (!isPresent(low) || (low & ADOPTED_COPY) === 0) continue;
    memory.assertReachable(pages.next(pfnOf(low, words[at + 1]!)));
  }
}

/** Puts back what differs below a table of `level` (2 to 4). */
function rewindTable(mm: Mm, table: Pfn, clones: Pfn, level: number, rewind: Rewind): void {
  const { memory } = mm;
  const words = memory.wordsOf(table);
  const from = memory.wordsOf(clones);
  const first = memory.wordAt(table);
  const offset = memory.wordAt(clones) - first;
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    const low = words[at]!;
    const kept = from[at + offset]!;
    if ((low | kept) === 0) continue;
    if (level === 2) {
      if (rewind.isBase && low !== 0 && kept !== 0 && (low & (WRITE | HUGE)) === 0) continue;
      rewindGranule(mm, words, at, from, at + offset, rewind);
      continue;
    }
    const what = upperEntry(mm, level, kept, from[at + offset + 1]!);
    if (what === 'table') {
      const lower = pfnOf(low, words[at + 1]!) as Pfn; // makeUpperTables has seen to it
      rewindTable(mm, lower, pfnOf(kept, from[at + offset + 1]!) as Pfn, level - 1, rewind);
      continue;
    }
    removeBelow(mm, words, at, level);
    words[at + 1] = from[at + offset + 1]!;
    words[at] = kept; // none, or a bad one
  }
}

/** Puts back a level-2 entry, words[at], that differs from the clone's, from[there], or may. */
function rewindGranule(
  mm: Mm,
  words: Int32Array,
  at: number,
  from: Int32Array,
  there: number,
  rewind: Rewind,
): void {
  const low = words[at]!;
  const high = words[at + 1]!;
  const kept = from[there]!;
  const keptHigh = from[there + 1]!;
  const is = upperEntry(mm, 2, low, high);
  const was = upperEntry(mm, 2, kept, keptHigh);
  const pfn = pfnOf(low, high) as Pfn;
  const keptPfn = pfnOf(kept, keptHigh) as Pfn;
  // A huge leaf that both show, or a table that both share, has not changed.
  if (is === was && pfn === keptPfn && (is === 'huge' || is === 'table')) return;
  if (is === 'table' && was === 'table' && !isShared(mm, pfn)) {
    const isOpen = rewindLeaves(mm, pfn, keptPfn, rewind);
    words[at] = isOpen ? low | WRITE : low & ~WRITE;
    return;
  }
  removeBelow(mm, words, at, 2);
  if (was === 'huge') {
    copyHuge(mm, from, there, words, at);
    words[at] = words[at]! | SOFT_DIRTY;
  } else if (was === 'table') rewindToTable(mm, words, at, from, there, keptPfn, rewind);
  else {
    words[at + 1] = keptHigh;
    words[at] = kept;
  }
}

/** Shares the clone's table, in which all pages count as written. */
function rewindToTable(
  mm: Mm,
  words: Int32Array,
  at: number,
  from: Int32Array,
  there: number,
  table: Pfn,
  rewind: Rewind,
): void {
  const leaves = mm.memory.wordsOf(table);
  const first = mm.memory.wordAt(table);
  if (mm.pages.mapping(table) === HAS_COPIES) {
    const fresh = allocateTable(mm, 1); // the granule that was just removed has given frames back
    words[at + 1] = highOf(fresh, 0);
    words[at] = lowOf(fresh, TABLE_ENTRY);
    rewindLeaves(mm, fresh, table, rewind);
    return;
  }
  for (let leaf = first; leaf < first + TABLE_WORDS; leaf += 2) {
    leaves[leaf] = withSoftDirty(leaves[leaf]!, leaves[leaf + 1]!);
  }
  shareTable(mm, from, there, words, at);
}

/**
 * Puts back the entries of the table that differ from those of the clone's table. Returns whether
 * some of them show adopted pages, so that the table has to stay open.
 */
function rewindLeaves(mm: Mm, table: Pfn, clones: Pfn, rewind: Rewind): boolean {
  const words = mm.memory.wordsOf(table);
  const from = mm.memory.wordsOf(clones);
  const first = mm.memory.wordAt(table);
  const offset = mm.memory.wordAt(clones) - first;
  let hasCopies = false;
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    const low = words[at]!;
    const kept = from[at + offset]!;
    const notes = (low & 0x101) !== 0 ? NOTES | SOFT_DIRTY : NOTES;
    if (((low ^ kept) & ~notes) === 0 && words[at + 1] === from[at + offset + 1]) continue;
    if (isPresent(kept) && (kept & ADOPTED_COPY) !== 0) {
      rewindAdopted(mm, words, at, kept, from[at + offset + 1]!, rewind);
      hasCopies = true;
    } else rewindLeaf(mm, words, at, from, at + offset);
  }
  return hasCopies;
}

function rewindLeaf(mm: Mm, words: Int32Array, at: number, from: Int32Array, there: number): void {
  const kept = from[there] === 0 ? 0 : shareEntry(mm, from, there);
  const high = from[there + 1]!;
  const low = words[at]!;
  if (low !== 0) dropEntry(mm, low, words[at + 1]!);
  words[at + 1] = high;
  words[at] = withSoftDirty(kept, high);
}

/** Removes everything below the entry words[at] of a table of `level`, and empties the entry. */
function removeBelow(mm: Mm, words: Int32Array, at: number, level: number): void {
  const low = words[at]!;
  const high = words[at + 1]!;
  const is = upperEntry(mm, level, low, high);
  words[at] = 0;
  words[at + 1] = 0;
  const pfn = pfnOf(low, high) as Pfn;
  if (is === 'huge') {
    for (let page = 0; page < 512; page++) dropLeaf(mm, pfn + page);
  }
  if (is !== 'table' || (level === 2 && dropShared(mm, pfn))) return;
  const lower = mm.memory.wordsOf(pfn);
  const first = mm.memory.wordAt(pfn);
  for (let next = first; next < first + TABLE_WORDS; next += 2) {
    if (lower[next] === 0) continue;
    if (level > 2) removeBelow(mm, lower, next, level - 1);
    else dropEntry(mm, lower[next]!, lower[next + 1]!);
  }
  mm.allocator.put(pfn, mm.thread);
}
