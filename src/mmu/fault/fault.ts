/**
 * Page faults (mm/memory.c): what an access does where the page tables do not allow it yet.
 *
 *   handleMmFault ─┬─ no VMA, or not allowed ──── SIGSEGV, unless the stack above may grow
 *                  ├─ huge leaf, write ────────── reuse, replace or split   (huge.ts)
 *                  ├─ no entry, anonymous ─────── write: fresh frame, or 2 MiB · read: zero page,
 *                  │                              or the same as a write if the machine has none
 *                  ├─ no entry, file ──────────── page cache; private and write: a copy of it
 *                  │                              shared:  the frame itself
 *                  ├─ swap entry ──────────────── a frame with the slot's bytes   (swap-in.ts)
 *                  ├─ marker ──────────────────── SIGSEGV or SIGBUS
 *                  └─ write to a read-only entry ─┬─ the only owner: reuse   (cow.ts)
 *                                                 └─ otherwise: copy
 *
 * The mmap lock is held for reading or writing. A frame is prepared outside the page-table lock
 * where that may take long (a file's page); the entry is looked at again under it.
 */
import { addressOf, GRANULE_PAGES, type Pfn } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { BEYOND_MEMORY, POISONED, segv, sigbus } from '../arguments/signal.ts';
import { cacheGetPage } from '../files/page-cache.ts';
import type { Mm } from '../mm/mm.ts';
import { ZERO_PAGE_PFN } from '../physical/page-struct.ts';
import { BANK_FRAMES, BANK_MASK } from '../physical/physical-memory.ts';
import { swapIn } from '../swap/swap-in.ts';
import {
  ensureTables,
  lockTable,
  type PageCursor,
  unlockTable,
  walk,
} from '../tables/page-table.ts';
import { isGuard, isPresent, PTE, pfnOf, setEntry } from '../tables/pte.ts';
import { dropLeaf, noteDirty } from '../tables/zap.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';
import { growStack } from '../vma/stack.ts';
import { breakCow } from './cow.ts';
import { faultHuge, writeHuge } from './huge.ts';
import { describeAnonymous, setLeafLocked } from './leaf.ts';

const { WRITE, DIRTY, ACCESSED } = PTE;

/** Makes the page accessible, or throws SIGSEGV / SIGBUS with the address and the reason. */
export function handleMmFault(mm: Mm, vpn: number, write: boolean): void {
  let slot = mm.vmas.lookup(vpn);
  if (slot < 0 && growStack(mm, vpn)) slot = mm.vmas.lookup(vpn);
  if (slot < 0) throw segv(vpn, write, 'no mapping there (SEGV_MAPERR)');
  const flags = mm.vmas.flags(slot);
  if (write ? (flags & VM.WRITE) === 0 : (flags & (VM.READ | VM.WRITE | VM.EXEC)) === 0) {
    throw segv(vpn, write, 'the mapping does not allow it (SEGV_ACCERR)');
  }
  if (faultHuge(mm, slot, flags, vpn, write)) return;
  const cursor = mm.cursor;
  if (ensureTables(mm, mm.pgd, vpn, 1, cursor) === 'huge') {
    if (write) writeHuge(mm, slot, flags, vpn);
    return;
  }
  const low = cursor.words[cursor.at]!;
  if (low === 0) {
    if ((flags & VM.PFNMAP) !== 0) throw sigbus(vpn, 'no frame of the device is mapped there');
    if (mm.vmas.file(slot) === 0) faultAnonymous(mm, slot, flags, vpn, write, cursor);
    else faultFile(mm, slot, flags, vpn, write, cursor);
  } else if (!isPresent(low)) {
    faultNotPresent(mm, slot, flags, vpn, write, cursor);
  } else if (write && (low & WRITE) === 0) {
    breakCow(mm, slot, flags, vpn, cursor);
  }
}

function faultNotPresent(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
): void {
  const { words, at, table } = cursor;
  // Under the lock: another thread may be changing the entry, or bringing the page back.
  lockTable(mm, table);
  const low = words[at]!;
  const high = words[at + 1]!;
  const isSwapped = mm.machine.swap.slotOf(low, high) >= 0;
  unlockTable(mm, table);
  if (low === 0 || isPresent(low)) return;
  if (isGuard(low, high)) throw segv(vpn, write, 'a guard page is there');
  if (!isSwapped) throw sigbus(vpn, POISONED);
  swapIn(mm, slot, flags, vpn, write, cursor);
}

/**
 * do_anonymous_page. Where there is no zero page (mm_forbids_zeropage) a read gets a page of its own,
 * and with it whatever such a page brings along: an anon_vma, a leaf that is writable if the VMA is.
 */
function faultAnonymous(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
): void {
  const isFresh = write || !mm.machine.hasZeroPage;
  const pfn = isFresh ? mm.allocator.allocateZeroed(mm.thread) : (ZERO_PAGE_PFN as Pfn);
  if (isFresh) describeAnonymous(mm, slot, vpn, pfn);
  const writable = isFresh && (flags & VM.WRITE) !== 0;
  lockTable(mm, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setLeafLocked(cursor, pfn, flags, writable, writable);
  unlockTable(mm, cursor.table);
  if (!free) dropLeaf(mm, pfn);
}

/** do_read_fault, do_cow_fault, do_shared_fault */
function faultFile(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
): void {
  const shared = (flags & VM.SHARED) !== 0;
  if (write && !shared) prepareAnonVma(mm, slot); // even where the file has no such page
  const index = mm.vmas.fileIndex(slot, vpn);
  const cached = cacheGetPage(mm, mm.vmas.file(slot), index, addressOf(vpn));
  let pfn = cached;
  if (write && !shared) {
    try {
      pfn = mm.allocator.allocate(mm.thread);
    } catch (error) {
      mm.allocator.put(cached, mm.thread);
      throw error;
    }
    mm.memory.copy(pfn, cached);
    describeAnonymous(mm, slot, vpn, pfn);
    mm.allocator.put(cached, mm.thread);
  } else {
    if (write) noteDirty(mm, pfn);
    mm.pages.addMapping(pfn);
  }
  // A shared page is writable as soon as it is mapped, where the VMA allows writing.
  const writable = write || (shared && (flags & VM.WRITE) !== 0);
  lockTable(mm, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setLeafLocked(cursor, pfn, flags, writable, write);
  unlockTable(mm, cursor.table);
  if (!free) dropLeaf(mm, pfn);
}

/** Whether the leaf at the cursor lets the access through (as the processor sees it). */
function leafAllows(low: number, write: boolean): boolean {
  return (low & PTE.PRESENT) !== 0 && (!write || (low & WRITE) !== 0);
}

/** Sets the ACCESSED and DIRTY bits, as the processor does. Page-table lock held. */
function touchLeafLocked(mm: Mm, cursor: PageCursor, pfn: number, write: boolean): void {
  const { words, at } = cursor;
  const low = words[at]!;
  const touched = low | ACCESSED | (write ? DIRTY : 0);
  if (touched === low) return;
  setEntry(words, at, touched, words[at + 1]!);
  if (write && (low & (DIRTY | PTE.SPECIAL)) === 0) noteDirty(mm, pfn);
}

/**
 * Faults until the page can be accessed, and returns its frame with the leaf's table locked: no
 * other thread can change or copy the page in between. The caller unlocks `mm.cursor.table`.
 */
export function lockPage(mm: Mm, vpn: number, write: boolean): Pfn {
  const cursor = mm.cursor;
  for (;;) {
    const found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'bad') throw sigbus(vpn, 'its page tables are damaged');
    // A look without the lock first: an entry that must fault is looked at again by its fault.
    if (found !== 'none' && (found === 'huge' || leafAllows(cursor.words[cursor.at]!, write))) {
      lockTable(mm, cursor.table);
      const low = cursor.words[cursor.at]!;
      const high = cursor.words[cursor.at + 1]!;
      const isHuge = found === 'huge';
      // A huge leaf may have been split, a table may have come in its place.
      const isSame = !isHuge || (low & PTE.HUGE) !== 0;
      const pfn = pfnOf(low, high) + (isHuge ? vpn % GRANULE_PAGES : 0);
      if (isSame && isPresent(low) && pfn >= mm.memory.frames) {
        unlockTable(mm, cursor.table);
        throw sigbus(vpn, BEYOND_MEMORY);
      }
      if (isSame && leafAllows(low, write)) {
        touchLeafLocked(mm, cursor, pfn, write);
        return pfn as Pfn;
      }
      unlockTable(mm, cursor.table);
      if (!isSame) continue;
    }
    handleMmFault(mm, vpn, write);
  }
}

/**
 * How many pages from `vpn` on, at most `wanted`, show frames in a row from `pfn` on and can be
 * accessed, too: they are behind leaves of the table that `lockPage` has locked.
 */
export function runLocked(
  mm: Mm,
  vpn: number,
  pfn: number,
  write: boolean,
  wanted: number,
): number {
  const { cursor } = mm;
  const { words, at, level } = cursor;
  const inTable = GRANULE_PAGES - (vpn % GRANULE_PAGES);
  const inBank = BANK_FRAMES - (pfn & BANK_MASK);
  const limit = Math.min(wanted, inTable, inBank, mm.memory.frames - pfn);
  if (level !== 1) return limit; // a huge leaf
  let pages = 1;
  for (; pages < limit; pages++) {
    const low = words[at + pages * 2]!;
    if (!leafAllows(low, write) || pfnOf(low, words[at + pages * 2 + 1]!) !== pfn + pages) break;
    cursor.at = at + pages * 2;
    touchLeafLocked(mm, cursor, pfn + pages, write);
  }
  cursor.at = at;
  return pages;
}
