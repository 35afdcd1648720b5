/**
 * Transparent huge pages (mm/huge_memory.c): a granule that lies inside an anonymous private VMA
 * with VM_HUGEPAGE is mapped by one leaf of 2 MiB. The mmap lock is held in either mode.
 */
import { GRANULE_PAGES, granuleEnd, granuleStart, type Pfn } from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import {
  highOf,
  isPresent,
  leafFlags,
  lowOf,
  PTE,
  pfnOf,
  replaceEntry,
  setEntry,
  WRITTEN,
} from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { ensureTables } from '../tables/shared-table.ts';
import { splitHuge } from '../tables/split-huge.ts';
import { dropLeaf } from '../tables/zap.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';
import { describeAnonymous } from './leaf.ts';

const { HUGE, WRITE, SOFT_DIRTY } = PTE;

/**
 * Maps a huge page on the first access to a granule (do_huge_pmd_anonymous_page). A read maps the
 * huge zero page, if the machine has zero pages. Returns false if no huge page can be used, so that
 * the fault must be handled with 4 KiB pages.
 */
export function faultHuge(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
): boolean {
  if ((flags & VM.HUGEPAGE) === 0 || (flags & VM.SHARED) !== 0) return false;
  if (mm.vmas.file(slot) !== 0) return false;
  const start = granuleStart(vpn);
  if (start < mm.vmas.start(slot) || granuleEnd(vpn) > mm.vmas.end(slot)) return false;
  const cursor = mm.cursor;
  ensureTables(mm, mm.pgd, vpn, 2, cursor);
  if (cursor.words[cursor.at] !== 0) return false;
  const isFresh = write || !mm.machine.hasZeroPage;
  const first = isFresh ? allocateHuge(mm, slot, start) : mm.machine.hugeZeroPage(mm.thread);
  if (first === 0) return false;
  prepareAnonVma(mm, slot);
  const writable = isFresh && (flags & VM.WRITE) !== 0;
  lockTable(mm, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setHugeLeaf(cursor, first, flags, writable, isFresh);
  if (free) mm.faulted = isFresh ? 'huge' : 'zeroPage';
  unlockTable(mm, cursor.table);
  if (!free) dropHuge(mm, first);
  return true;
}

/**
 * Allocates 512 frames of zeros and describes them as pages of the granule. 0 if there is no block.
 */
function allocateHuge(mm: Mm, slot: number, start: number): Pfn {
  const first = mm.allocator.tryAllocateHuge(mm.thread, true);
  if (first === 0) return first;
  for (let page = 0; page < GRANULE_PAGES; page++) {
    describeAnonymous(mm, slot, start + page, (first + page) as Pfn, PG.HUGE);
  }
  return first;
}

function dropHuge(mm: Mm, first: number): void {
  for (let page = 0; page < GRANULE_PAGES; page++) dropLeaf(mm, first + page);
}

/** Sets the leaf. It is soft-dirty with `isSoft`: its bytes are new. The table is locked. */
function setHugeLeaf(
  cursor: PageCursor,
  first: number,
  flags: number,
  writable: boolean,
  isSoft: boolean,
): void {
  const privileges = pagePrivileges(flags);
  const bits = leafFlags(privileges.low, writable, writable) | (isSoft ? SOFT_DIRTY : 0);
  const low = lowOf(first, bits | HUGE);
  replaceEntry(cursor.words, cursor.at, low, highOf(first, privileges.high));
}

/**
 * Handles a write to a huge leaf that is read-only (do_huge_pmd_wp_page). The huge zero page is
 * replaced by a fresh huge page. A huge page that nothing else refers to becomes writable. Any
 * other leaf is split, as is the huge zero page if no block is free; the access then faults again
 * for its 4 KiB page.
 */
export function writeHuge(mm: Mm, slot: number, flags: number, vpn: number): void {
  const cursor = mm.cursor;
  const first = hugeFrame(mm, cursor);
  if (first === 0) return; // split by another thread
  if ((mm.pages.flags(first) & PG.ZERO) !== 0) {
    const fresh = allocateHuge(mm, slot, granuleStart(vpn));
    if (fresh === 0) splitHuge(mm, cursor);
    else replaceHugeZero(mm, cursor, first, fresh, flags);
    return;
  }
  if (!reuseHuge(mm, cursor, first)) splitHuge(mm, cursor);
}

/** Makes the leaf writable if it still maps these frames and nothing else refers to them. */
function reuseHuge(mm: Mm, cursor: PageCursor, first: number): boolean {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const low = words[at]!;
  const high = words[at + 1]!;
  const isSame = (low & HUGE) !== 0 && isPresent(low) && pfnOf(low, high) === first;
  const reuse = isSame && isAllExclusive(mm, first);
  if (reuse) setEntry(words, at, low | WRITE | WRITTEN, high);
  if (reuse) mm.faulted = 'reuse';
  unlockTable(mm, table);
  return reuse;
}

function hugeFrame(mm: Mm, cursor: PageCursor): number {
  lockTable(mm, cursor.table);
  const low = cursor.words[cursor.at]!;
  const first = (low & HUGE) === 0 ? 0 : pfnOf(low, cursor.words[cursor.at + 1]!);
  unlockTable(mm, cursor.table);
  return first;
}

function replaceHugeZero(
  mm: Mm,
  cursor: PageCursor,
  zero: number,
  fresh: number,
  flags: number,
): void {
  lockTable(mm, cursor.table);
  const low = cursor.words[cursor.at]!;
  const unchanged = (low & HUGE) !== 0 && pfnOf(low, cursor.words[cursor.at + 1]!) === zero;
  if (unchanged) {
    revokeTranslations(mm);
    setHugeLeaf(cursor, fresh, flags, true, true);
    mm.faulted = 'huge';
  }
  unlockTable(mm, cursor.table);
  if (!unchanged) dropHuge(mm, fresh);
}

/** Whether nothing but one huge leaf refers to the 512 frames, and KSM has merged none of them. */
export function isAllExclusive(mm: Mm, first: number): boolean {
  for (let pfn = first; pfn < first + GRANULE_PAGES; pfn++) {
    if ((mm.pages.flags(pfn) & PG.KSM) !== 0 || !mm.pages.isExclusive(pfn)) return false;
  }
  return true;
}
