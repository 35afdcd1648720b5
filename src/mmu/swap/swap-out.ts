/**
 * Reclaiming pages of one mm (mm/vmscan.c, driven from the page tables). Anonymous pages go to
 * swap. Pages of files lose their leaf and stay in the page cache, and a dirty leaf marks its page
 * PG.DIRTY. Pages of unreachable files are left alone, unless they lie in a backing as well and were
 * not written. The mmap lock is held in either mode; every
 * entry is changed under its table's lock.
 *
 * An anonymous page that was loaded from a backing, and not written since, goes back to it: each of
 * its leaves becomes a backed entry again. Any other anonymous page goes to swap, and only if nothing
 * else refers to its frame. A frame that a fork shares or that KSM has merged stays, since no reverse
 * map leads to its other leaves. An adopted frame stays as well.
 */
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { backingOut } from '../backing/backing-out.ts';
import { isAllExclusive } from '../fault/huge.ts';
import { isUnreachableKind } from '../files/file-record.ts';
import { isInBacking } from '../files/write-back.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import {
  clearEntry,
  highOf,
  isPresent,
  lowOf,
  PTE,
  pfnOf,
  replaceEntry,
  setEntry,
  swappedOfSoft,
  TABLE_ENTRY,
} from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { openOwnTable } from '../tables/shared-table.ts';
import { walkRange } from '../tables/walk-range.ts';
import { dropLeaf, noteDirty } from '../tables/zap.ts';

const { ACCESSED, DIRTY, SPECIAL, HUGE } = PTE;
const { ANON, RESERVED, KSM, LAZYFREE, ADOPTED } = PG;
/** Flags of VMAs whose pages are never reclaimed. */
const KEPT = VM.LOCKED | VM.IO | VM.PFNMAP | VM.HUGETLB;

/** What reclaim is asked for, and how hard it tries. */
export interface Pressure {
  /** Frames that are still wanted. Reclaim stops at 0; a 2 MiB page may make it negative. */
  wanted: number;
  /** Second chance: a page that was accessed since the last scan only loses its ACCESSED bit. */
  readonly sparesAccessed: boolean;
}

/** MADV_PAGEOUT: reclaims every page of [from, to) that can be reclaimed. */
export function swapOutRange(mm: Mm, slot: number, from: number, to: number): void {
  const pressure = { wanted: Number.MAX_SAFE_INTEGER, sparesAccessed: false };
  if ((mm.vmas.flags(slot) & KEPT) === 0) reclaimRange(mm, from, to, pressure);
}

/** Reclaims pages of one VMA after the other until no more frames are wanted. */
export function reclaimMm(mm: Mm, pressure: Pressure): void {
  const { vmas } = mm;
  for (let ordinal = 0; ordinal < vmas.count && pressure.wanted > 0; ordinal++) {
    const slot = vmas.slot(ordinal);
    if ((vmas.flags(slot) & KEPT) !== 0) continue;
    reclaimRange(mm, vmas.start(slot), vmas.end(slot), pressure);
  }
}

function reclaimRange(mm: Mm, from: number, to: number, pressure: Pressure): void {
  const { cursor } = mm;
  walkRange(mm, from, to, 'look', (found, vpn, end) => {
    // Pages of a shared table stay, as pages do that forks share.
    if (found === 'table' && openOwnTable(mm, vpn, cursor)) {
      reclaimTable(mm, cursor, end - vpn, pressure);
    } else if (found === 'table') return true;
    else if (end - vpn === GRANULE_PAGES) reclaimHuge(mm, cursor, pressure);
    return pressure.wanted > 0;
  });
}

function reclaimTable(mm: Mm, cursor: PageCursor, count: number, pressure: Pressure): void {
  const { words, table } = cursor;
  lockTable(mm, table);
  revokeTranslations(mm);
  for (let at = cursor.at; at < cursor.at + count * 2 && pressure.wanted > 0; at += 2) {
    const low = words[at]!;
    if (!isPresent(low) || (low & SPECIAL) !== 0) continue;
    if (pressure.sparesAccessed && (low & ACCESSED) !== 0) {
      setEntry(words, at, low & ~ACCESSED, words[at + 1]!);
      continue;
    }
    reclaimLeaf(mm, words, at, pressure);
  }
  unlockTable(mm, table);
}

function reclaimLeaf(mm: Mm, words: Int32Array, at: number, pressure: Pressure): void {
  const low = words[at]!;
  const pfn = pfnOf(low, words[at + 1]!);
  if (!mm.memory.has(pfn)) return; // the entry was damaged on purpose
  const flags = mm.pages.flags(pfn);
  if ((flags & (RESERVED | ADOPTED)) !== 0) return;
  if ((flags & ANON) === 0) {
    if (canComeBack(mm, pfn, (low & DIRTY) !== 0)) dropFileLeaf(mm, words, at, pfn);
    return;
  }
  const isOnly = mm.pages.isExclusive(pfn);
  const isLazyFree = (flags & (LAZYFREE | KSM)) === LAZYFREE && isOnly && (low & DIRTY) === 0;
  if (!isLazyFree && backingOut(mm, words, at, pfn)) {
    if (isOnly) pressure.wanted--;
    dropLeaf(mm, pfn);
    return;
  }
  if ((flags & KSM) !== 0 || !isOnly) return;
  if (isLazyFree) {
    clearEntry(words, at);
  } else {
    const slot = mm.machine.swap.allocate(mm.thread);
    if (slot < 0) return;
    mm.memory.copy(mm.machine.swap.frameOf(slot), pfn);
    const swapped = mm.machine.swap.lowOf(slot) | swappedOfSoft(low);
    replaceEntry(words, at, swapped, mm.machine.swap.highOf(slot));
  }
  dropLeaf(mm, pfn);
  pressure.wanted--;
}

/** Whether the page can be read again: from its living file, or from a backing. */
function canComeBack(mm: Mm, pfn: number, isDirty: boolean): boolean {
  const file = mm.pages.mapping(pfn);
  if (file === 0 || !mm.files.exists(file)) return false;
  if (!isUnreachableKind(mm.files.kind(file))) return true;
  if (isDirty || (mm.pages.flags(pfn) & PG.DIRTY) !== 0) return false;
  return isInBacking(mm, mm.files.places(file), mm.pages.index(pfn));
}

/** Unmaps a page, which stays in the page cache. That shrinks later (`memory-pressure.ts`). */
function dropFileLeaf(mm: Mm, words: Int32Array, at: number, pfn: number): void {
  if ((words[at]! & DIRTY) !== 0) noteDirty(mm, pfn);
  clearEntry(words, at);
  dropLeaf(mm, pfn);
}

/**
 * Reclaims a whole 2 MiB page. A page table has to take the place of the huge leaf, but there may
 * be no free frame for it. So the first frame of the page becomes that table, once its bytes are in
 * swap.
 */
function reclaimHuge(mm: Mm, cursor: PageCursor, pressure: Pressure): void {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const low = words[at]!;
  const first = pfnOf(low, words[at + 1]!);
  const isOurs = (low & HUGE) !== 0 && isPresent(low) && first + GRANULE_PAGES <= mm.memory.frames;
  if (isOurs && isAllExclusive(mm, first)) {
    revokeTranslations(mm);
    const spared = pressure.sparesAccessed && (low & ACCESSED) !== 0;
    if (spared) setEntry(words, at, low & ~ACCESSED, words[at + 1]!);
    else if (swapOutHuge(mm, words, at, first)) pressure.wanted -= GRANULE_PAGES - 1;
  }
  unlockTable(mm, table);
}

function swapOutHuge(mm: Mm, words: Int32Array, at: number, first: number): boolean {
  const { swap } = mm.machine;
  const slots: number[] = [];
  for (let page = 0; page < GRANULE_PAGES; page++) {
    const slot = swap.allocate(mm.thread);
    if (slot < 0) {
      for (const taken of slots) swap.put(taken, mm.thread);
      return false;
    }
    mm.memory.copy(swap.frameOf(slot), first + page);
    slots.push(slot);
  }
  mm.pages.dropMapping(first);
  mm.pages.describe(first, PG.TABLE, 0, 0);
  mm.pages.setNext(first, 0); // its page-table lock, which is free
  mm.pages.setPrevious(first, 1); // its level
  const entries = mm.memory.wordsOf(first);
  const base = mm.memory.wordAt(first);
  const soft = swappedOfSoft(words[at]!);
  for (let page = 0; page < GRANULE_PAGES; page++) {
    const slot = slots[page]!;
    replaceEntry(entries, base + page * 2, swap.lowOf(slot) | soft, swap.highOf(slot));
  }
  replaceEntry(words, at, lowOf(first, TABLE_ENTRY), highOf(first, 0));
  for (let page = 1; page < GRANULE_PAGES; page++) dropLeaf(mm, first + page);
  return true;
}

/**
 * MADV_FREE: reclaim may drop these pages instead of swapping them, unless they are written first.
 * Shared pages and huge pages are left alone, which advice allows.
 */
export function markLazyFree(mm: Mm, from: number, to: number): void {
  walkRange(mm, from, to, 'change', (found, vpn, end) => {
    if (found === 'table') markTable(mm, mm.cursor, end - vpn);
  });
}

function markTable(mm: Mm, cursor: PageCursor, count: number): void {
  const { words, table } = cursor;
  lockTable(mm, table);
  revokeTranslations(mm);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    const high = words[at + 1]!;
    if (low === 0) continue;
    if (!isPresent(low)) {
      dropSwapEntry(mm, words, at);
      continue;
    }
    const pfn = pfnOf(low, high);
    if (!mm.memory.has(pfn) || (low & SPECIAL) !== 0) continue;
    const flags = mm.pages.flags(pfn);
    if ((flags & ANON) === 0 || (flags & (KSM | RESERVED | ADOPTED)) !== 0) continue;
    if (!mm.pages.isExclusive(pfn)) continue;
    mm.pages.addFlags(pfn, LAZYFREE);
    setEntry(words, at, low & ~(DIRTY | ACCESSED), high);
  }
  unlockTable(mm, table);
}

/** MADV_FREE drops a page that is in swap at once, as in Linux. */
function dropSwapEntry(mm: Mm, words: Int32Array, at: number): void {
  const { swap } = mm.machine;
  const slot = swap.slotOf(words[at]!, words[at + 1]!);
  if (slot < 0) return;
  clearEntry(words, at);
  swap.put(slot, mm.thread);
}
