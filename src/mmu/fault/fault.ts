/**
 * Page faults (mm/memory.c): what a load or store finds when the tables do not allow it yet.
 *
 *   handleMmFault ─┬─ no entry ──┬─ anonymous ─┬─ read:  the zero page, read-only
 *                  │             │             └─ write: a fresh frame, or 2 MiB at once
 *                  │             └─ file ──────┬─ read:  the page cache's frame
 *                  │                           ├─ write, private: a copy of it
 *                  │                           └─ write, shared:  the frame itself
 *                  ├─ marker ──── SIGSEGV or SIGBUS
 *                  └─ write to a read-only entry (do_wp_page) ─┬─ the only owner: reuse
 *                                                              └─ otherwise: copy
 *
 * The mmap lock is held for reading or writing. A frame is prepared outside the page-table lock
 * where that may take long (a file's page); the entry is looked at again under it.
 */
import { MmdumpError } from '../../shared/errors.ts';
import {
  addressOf,
  GRANULE_PAGES,
  granuleEnd,
  granuleStart,
  hex,
  type Pfn,
} from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import { cacheGetPage } from '../files/page-cache.ts';
import type { Mm } from '../mm.ts';
import { PG, ZERO_PAGE_PFN } from '../physical/page-struct.ts';
import {
  ensureTables,
  lockTable,
  type PageCursor,
  unlockTable,
  walk,
} from '../tables/page-table.ts';
import {
  highOf,
  isPresent,
  leafFlags,
  lowOf,
  MARKER,
  PTE,
  pfnOf,
  setEntry,
  swapValueOf,
} from '../tables/pte.ts';
import { dropLeaf } from './zap.ts';

const { HUGE, WRITE, DIRTY, SPECIAL, NX_HIGH } = PTE;
const { ANON, SWAPBACKED, RESERVED } = PG;

/** Makes the page accessible, or throws SIGSEGV / SIGBUS with the address and the reason. */
export function handleMmFault(mm: Mm, vpn: number, write: boolean): void {
  const slot = mm.vmas.lookup(vpn);
  if (slot < 0) throw segv(vpn, write, 'no mapping there (SEGV_MAPERR)');
  const flags = mm.vmas.flags(slot);
  if (write ? (flags & VM.WRITE) === 0 : (flags & (VM.READ | VM.WRITE | VM.EXEC)) === 0) {
    throw segv(vpn, write, 'the mapping does not allow it (SEGV_ACCERR)');
  }
  if (write && faultHuge(mm, slot, flags, vpn)) return;
  const cursor = mm.cursor;
  if (ensureTables(mm, mm.pgd, vpn, 1, cursor) === 'huge') {
    makeHugeWritable(mm, cursor, flags);
    return;
  }
  const low = cursor.words[cursor.at]!;
  if (low === 0) {
    if ((flags & VM.PFNMAP) !== 0) throw sigbus(vpn, 'no frame of the device is mapped there');
    if (mm.vmas.file(slot) === 0) faultAnonymous(mm, slot, flags, vpn, write, cursor);
    else faultFile(mm, slot, flags, vpn, write, cursor);
  } else if (!isPresent(low)) {
    if (swapValueOf(low) === MARKER.GUARD) throw segv(vpn, write, 'a guard page is there');
    throw sigbus(vpn, 'the page was poisoned (BUS_MCEERR_AR)');
  } else if (write && (low & WRITE) === 0) {
    breakCow(mm, slot, flags, vpn, cursor);
  }
}

function segv(vpn: number, write: boolean, reason: string): MmdumpError {
  const address = addressOf(vpn);
  return new MmdumpError(
    'SIGSEGV',
    `${write ? 'write to' : 'read from'} page ${hex(address)}: ${reason}`,
    { address, reason },
  );
}

function sigbus(vpn: number, reason: string): MmdumpError {
  const address = addressOf(vpn);
  return new MmdumpError('SIGBUS', `page ${hex(address)}: ${reason}`, { address, reason });
}

/** Writes the entry at the cursor for a VMA with these flags. Page-table lock held. */
export function setLeafLocked(
  cursor: PageCursor,
  pfn: number,
  flags: number,
  writable: boolean,
  dirty: boolean,
): void {
  const privileges = pagePrivileges(flags);
  const low = lowOf(pfn, leafFlags(privileges.low, writable, dirty));
  setEntry(cursor.words, cursor.at, low, highOf(pfn, privileges.high));
}

/** A frame that becomes an anonymous page of this mm at `vpn`. */
function describeAnonymous(mm: Mm, slot: number, vpn: number, pfn: Pfn): void {
  const anonVma = mm.vmas.anonVma(slot) || mm.vmas.adoptAnonVma(slot, mm.machine.nextAnonVma());
  mm.pages.describe(pfn, ANON | SWAPBACKED, anonVma, mm.vmas.fileIndex(slot, vpn));
  mm.pages.addMapping(pfn);
}

/** do_anonymous_page */
function faultAnonymous(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
): void {
  const pfn = write ? mm.allocator.allocateZeroed(mm.thread) : (ZERO_PAGE_PFN as Pfn);
  if (write) describeAnonymous(mm, slot, vpn, pfn);
  lockTable(mm, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setLeafLocked(cursor, pfn, flags, write, write);
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
    if (write) mm.pages.addFlags(pfn, PG.DIRTY);
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

/** do_wp_page: a write to a page that is mapped read-only although the VMA allows writing. */
function breakCow(mm: Mm, slot: number, flags: number, vpn: number, cursor: PageCursor): void {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  try {
    const low = words[at]!;
    const high = words[at + 1]!;
    if (!isPresent(low) || (low & WRITE) !== 0) return; // another thread was here
    const old = pfnOf(low, high);
    if ((flags & VM.SHARED) !== 0 || mayReuse(mm, low, old)) {
      setEntry(words, at, low | WRITE | DIRTY, high);
      return;
    }
    const fresh =
      old === ZERO_PAGE_PFN
        ? mm.allocator.allocateZeroed(mm.thread)
        : mm.allocator.allocate(mm.thread);
    if (old !== ZERO_PAGE_PFN) mm.memory.copy(fresh, old);
    describeAnonymous(mm, slot, vpn, fresh);
    setLeafLocked(cursor, fresh, flags, true, true);
    dropLeaf(mm, old);
  } finally {
    unlockTable(mm, table);
  }
}

/** wp_can_reuse_anon_folio: nobody else refers to this anonymous page. */
function mayReuse(mm: Mm, low: number, pfn: number): boolean {
  if ((low & SPECIAL) !== 0) return false;
  const flags = mm.pages.flags(pfn);
  return (
    (flags & ANON) !== 0 && (flags & (RESERVED | PG.KSM)) === 0 && mm.pages.references(pfn) === 1
  );
}

/**
 * do_huge_pmd_anonymous_page: the first write to a granule that lies inside an anonymous VMA with
 * VM_HUGEPAGE gets 2 MiB at once. False when the ordinary way is to be taken.
 */
function faultHuge(mm: Mm, slot: number, flags: number, vpn: number): boolean {
  if ((flags & VM.HUGEPAGE) === 0 || (flags & VM.SHARED) !== 0) return false;
  if (mm.vmas.file(slot) !== 0) return false;
  const start = granuleStart(vpn);
  if (start < mm.vmas.start(slot) || granuleEnd(vpn) > mm.vmas.end(slot)) return false;
  const cursor = mm.cursor;
  ensureTables(mm, mm.pgd, vpn, 2, cursor);
  if (cursor.words[cursor.at] !== 0) return false;
  const first = mm.allocator.tryAllocateHuge(mm.thread, true);
  if (first === 0) return false;
  for (let page = 0; page < GRANULE_PAGES; page++) {
    describeAnonymous(mm, slot, start + page, (first + page) as Pfn);
    mm.pages.addFlags(first + page, PG.HUGE);
  }
  lockTable(mm, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setHugeLeafLocked(cursor, first, flags);
  unlockTable(mm, cursor.table);
  if (!free) for (let page = 0; page < GRANULE_PAGES; page++) dropLeaf(mm, first + page);
  return true;
}

export function setHugeLeafLocked(cursor: PageCursor, first: number, flags: number): void {
  const privileges = pagePrivileges(flags);
  const writable = (flags & VM.WRITE) !== 0;
  const low = lowOf(first, leafFlags(privileges.low, writable, true) | HUGE);
  setEntry(cursor.words, cursor.at, low, highOf(first, privileges.high & NX_HIGH));
}

/** A write to a huge leaf that mprotect had made read-only. Nobody else maps its frames. */
function makeHugeWritable(mm: Mm, cursor: PageCursor, flags: number): void {
  lockTable(mm, cursor.table);
  const low = cursor.words[cursor.at]!;
  const high = cursor.words[cursor.at + 1]!;
  if ((low & HUGE) !== 0 && isPresent(low) && (flags & VM.WRITE) !== 0) {
    setEntry(cursor.words, cursor.at, low | WRITE | DIRTY, high);
  }
  unlockTable(mm, cursor.table);
}

/** Whether the leaf at the cursor lets the access through (as the processor sees it). */
function leafAllows(low: number, write: boolean): boolean {
  return (low & PTE.PRESENT) !== 0 && (!write || (low & WRITE) !== 0);
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
    if (found !== 'none') {
      lockTable(mm, cursor.table);
      const low = cursor.words[cursor.at]!;
      const high = cursor.words[cursor.at + 1]!;
      const offset = found === 'huge' ? vpn % GRANULE_PAGES : 0;
      const pfn = pfnOf(low, high) + offset;
      if (pfn >= mm.memory.frames && isPresent(low)) {
        unlockTable(mm, cursor.table);
        throw sigbus(vpn, 'its page-table entry points beyond physical memory');
      }
      if (leafAllows(low, write)) {
        if (write && (low & DIRTY) === 0) setEntry(cursor.words, cursor.at, low | DIRTY, high);
        return pfn as Pfn;
      }
      unlockTable(mm, cursor.table);
    }
    handleMmFault(mm, vpn, write);
  }
}
