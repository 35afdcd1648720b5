/**
 * Page faults (mm/memory.c): what an access does where the page tables do not allow it yet.
 *
 *   handleMmFault ─┬─ no VMA, or not allowed ──── SIGSEGV, unless the stack above may grow
 *                  ├─ huge leaf, write ────────── reuse, replace or split   (huge.ts)
 *                  ├─ no entry, anonymous ─────── write: fresh frame, or 2 MiB · read: zero page,
 *                  │                              or the same as a write if the machine has none
 *                  ├─ no entry, file ──────────── page cache; private and write: a copy of the page
 *                  │                              otherwise: the cached frame itself
 *                  ├─ swap entry ──────────────── a frame with the slot's bytes   (swap-in.ts)
 *                  ├─ backed entry ────────────── a frame with the backing's bytes (backing-in.ts)
 *                  ├─ guard marker ────────────── SIGSEGV   (any other marker: SIGBUS)
 *                  └─ write to a read-only entry ─┬─ the only owner: reuse   (cow.ts)
 *                                                 └─ otherwise: copy
 *
 * The mmap lock is held in either mode. For an entry that is not present, the frame is allocated
 * before the page-table lock is taken, since that may take long (reading a file's page). The entry
 * is therefore checked again under the lock. Only breaking COW allocates under the lock.
 */
import { addressOf, GRANULE_PAGES, type Pfn } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { BEYOND_MEMORY, POISONED, segv, sigbus } from '../arguments/signal.ts';
import { backingIn } from '../backing/backing-in.ts';
import { cacheGetPage } from '../files/filemap.ts';
import type { Mm } from '../mm/mm.ts';
import { ZERO_PAGE_PFN } from '../physical/page-struct.ts';
import { swapIn } from '../swap/swap-in.ts';
import { lockTable, type PageCursor, unlockTable, walk } from '../tables/page-table.ts';
import { isBacked, isGuard, isPresent, PTE, pfnOf, setEntry, WRITTEN } from '../tables/pte.ts';
import { ensureTables, openTable } from '../tables/shared-table.ts';
import { dropLeaf, noteDirty } from '../tables/zap.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';
import { growStack } from '../vma/stack.ts';
import { breakCow } from './cow.ts';
import { faultHuge, writeHuge } from './huge.ts';
import { describeAnonymous, setLeaf } from './leaf.ts';
import { noteFault } from './note-fault.ts';

const { WRITE, DIRTY, ACCESSED } = PTE;

/**
 * Makes the page accessible (handle_mm_fault). Throws SIGSEGV or SIGBUS with the address and the
 * reason. Throws StackGrowth if the stack must grow but the mmap lock is held for reading only.
 */
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
  // Both words are read under the lock, since another thread may be changing the entry.
  lockTable(mm, table);
  const low = words[at]!;
  const high = words[at + 1]!;
  const isSwapped = mm.machine.swap.slotOf(low, high) >= 0;
  unlockTable(mm, table);
  if (low === 0 || isPresent(low)) return;
  if (isBacked(low)) {
    backingIn(mm, slot, flags, vpn, write, cursor, low, high);
    return;
  }
  if (isGuard(low, high)) throw segv(vpn, write, 'a guard page is there');
  if (!isSwapped) throw sigbus(vpn, POISONED);
  swapIn(mm, slot, flags, vpn, write, cursor);
}

/**
 * The first access to an anonymous page (do_anonymous_page). In a machine without a zero page
 * (mm_forbids_zeropage), a read allocates a frame, too. It then has the same effects as a write:
 * the VMA gets an anon_vma, and the leaf is writable and dirty if the VMA is writable.
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
  if (free) setLeaf(cursor, pfn, flags, writable, writable, isFresh); // its bytes are new
  if (free) mm.faulted = isFresh ? 'anonymous' : 'zeroPage';
  unlockTable(mm, cursor.table);
  if (!free) dropLeaf(mm, pfn);
}

/** The first access to a page of a file (do_read_fault, do_cow_fault, do_shared_fault). */
function faultFile(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  write: boolean,
  cursor: PageCursor,
): void {
  const shared = (flags & VM.SHARED) !== 0;
  if (write && !shared) prepareAnonVma(mm, slot); // also if the page is beyond the end of the file
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
  // In a shared mapping that allows writing, the leaf is writable from the first read on.
  const writable = write || (shared && (flags & VM.WRITE) !== 0);
  lockTable(mm, cursor.table);
  const free = cursor.words[cursor.at] === 0;
  if (free) setLeaf(cursor, pfn, flags, writable, write);
  if (free) mm.faulted = pfn === cached ? 'file' : 'cow';
  unlockTable(mm, cursor.table);
  if (!free) dropLeaf(mm, pfn);
}

/** Whether the processor would allow the access through a leaf with this low word. */
function leafAllows(low: number, write: boolean): boolean {
  return (low & PTE.PRESENT) !== 0 && (!write || (low & WRITE) !== 0);
}

/**
 * Sets the ACCESSED and DIRTY bits, as the processor does, and the soft-dirty bit with DIRTY. So no
 * leaf has to be write-protected to notice the next write, as Linux has to. The caller holds the page-table lock.
 */
function touchLeaf(mm: Mm, cursor: PageCursor, pfn: number, write: boolean): void {
  const { words, at } = cursor;
  const low = words[at]!;
  const touched = low | ACCESSED | (write ? WRITTEN : 0);
  if (touched === low) return;
  setEntry(words, at, touched, words[at + 1]!);
  if (write && (low & (DIRTY | PTE.SPECIAL)) === 0) noteDirty(mm, pfn);
}

/**
 * Faults until the page can be accessed, and returns its frame. The leaf's table is locked on
 * return, so no other thread can change the leaf, or load or store the page through it. The caller
 * must unlock `mm.cursor.table`.
 */
export function lockPage(mm: Mm, vpn: number, write: boolean): Pfn {
  const cursor = mm.cursor;
  for (;;) {
    const found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'bad') throw sigbus(vpn, 'its page tables are damaged');
    if (write && found === 'table') openTable(mm, vpn, cursor);
    // This first check takes no lock. An entry that must fault is checked again by the fault.
    if (found !== 'none' && (found === 'huge' || leafAllows(cursor.words[cursor.at]!, write))) {
      lockTable(mm, cursor.table);
      const low = cursor.words[cursor.at]!;
      const high = cursor.words[cursor.at + 1]!;
      const isHuge = found === 'huge';
      // The huge leaf may have been split in the meantime: a table is in its place then.
      const isSame = !isHuge || (low & PTE.HUGE) !== 0;
      const pfn = pfnOf(low, high) + (isHuge ? vpn % GRANULE_PAGES : 0);
      if (isSame && isPresent(low) && !mm.memory.has(pfn)) {
        unlockTable(mm, cursor.table);
        throw sigbus(vpn, BEYOND_MEMORY);
      }
      if (isSame && leafAllows(low, write)) {
        touchLeaf(mm, cursor, pfn, write);
        return pfn as Pfn;
      }
      unlockTable(mm, cursor.table);
      if (!isSame) continue;
    }
    mm.faulted = undefined;
    mm.hasRead = false;
    handleMmFault(mm, vpn, write);
    if (mm.faulted !== undefined) noteFault(mm, vpn, write, mm.faulted);
  }
}

/**
 * Returns how many pages from `vpn` on, at most `wanted`, are accessible and map neighbouring
 * frames from `pfn` on. `lockPage` has locked the table and returned `pfn` for `vpn`; only leaves
 * of that table count. Sets their ACCESSED and DIRTY bits.
 */
export function touchRun(mm: Mm, vpn: number, pfn: number, write: boolean, wanted: number): number {
  const { cursor } = mm;
  const { words, at, level } = cursor;
  const inTable = GRANULE_PAGES - (vpn % GRANULE_PAGES);
  const limit = Math.min(wanted, inTable, mm.memory.framesFrom(pfn));
  if (level !== 1) return limit; // a huge leaf
  let pages = 1;
  for (; pages < limit; pages++) {
    const low = words[at + pages * 2]!;
    if (!leafAllows(low, write) || pfnOf(low, words[at + pages * 2 + 1]!) !== pfn + pages) break;
    cursor.at = at + pages * 2;
    touchLeaf(mm, cursor, pfn + pages, write);
  }
  cursor.at = at;
  return pages;
}
