/**
 * Copying the page tables of a VMA for a fork (copy_page_range). Private pages become read-only in
 * both mms. The first write then breaks COW: it gets a copy, or reuses the frame if the other mm no
 * longer refers to it. The parent's mmap lock is held for writing, and every change of its entries
 * needs that lock, reclaim included. So no page-table lock of the parent is taken here.
 */
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { ensureTables, PageCursor } from '../tables/page-table.ts';
import { isPresent, PTE, pfnOf, setEntry } from '../tables/pte.ts';
import { walkRange } from '../tables/walk-range.ts';
import type { VmaFields } from '../vma/vma-table.ts';

const { WRITE } = PTE;

/**
 * Copies the leaves of `vma` from the parent's tables to the child's. If it throws ENOMEM, a part
 * has been copied, which the caller must remove.
 */
export function copyRange(parent: Mm, child: Mm, vma: VmaFields): void {
  const from = parent.cursor;
  const to = new PageCursor();
  const isShared = (vma.flags & VM.MAYSHARE) !== 0;
  walkRange(parent, vma.start, vma.end, false, (found, vpn, end) => {
    if (found === 'table') {
      copyTable(child, from, to, vpn, end - vpn, isShared);
      return;
    }
    ensureTables(child, child.pgd, vpn, 2, to);
    copyHuge(child, from, to);
  });
}

function copyTable(
  child: Mm,
  from: PageCursor,
  to: PageCursor,
  vpn: number,
  count: number,
  isShared: boolean,
): void {
  const { words } = from;
  let hasTable = false;
  for (let page = 0; page < count; page++) {
    const at = from.at + page * 2;
    if (words[at] === 0) continue;
    if (!hasTable) ensureTables(child, child.pgd, vpn, 1, to);
    hasTable = true;
    copyEntry(child, from, at, to, to.at + page * 2, isShared);
  }
}

/**
 * Copies one entry, and takes a reference to the frame or swap slot that it names. A marker is
 * copied as it is.
 */
function copyEntry(
  child: Mm,
  from: PageCursor,
  at: number,
  to: PageCursor,
  there: number,
  isShared: boolean,
): void {
  let low = from.words[at]!;
  const high = from.words[at + 1]!;
  if (!isPresent(low)) {
    const slot = child.machine.swap.slotOf(low, high);
    if (slot >= 0) child.machine.swap.get(slot, child.thread);
  } else {
    if (!isShared && (low & WRITE) !== 0) {
      low &= ~WRITE;
      from.words[at] = low; // no thread walks the parent: its mmap lock is held for writing
    }
    shareFrame(child, pfnOf(low, high));
  }
  to.words[there] = low; // no other thread sees the child yet
  to.words[there + 1] = high;
}

/** Takes the reference of one more leaf to the frame, and counts its mapping. */
function shareFrame(child: Mm, pfn: number): void {
  if (pfn <= 0 || pfn >= child.memory.frames) return; // the entry was damaged on purpose
  if ((child.pages.flags(pfn) & PG.RESERVED) !== 0) return;
  child.pages.get(pfn);
  child.pages.addMapping(pfn);
}

/** Copies a huge leaf. It is private and anonymous, so it becomes read-only in both mms. */
function copyHuge(child: Mm, from: PageCursor, to: PageCursor): void {
  const low = from.words[from.at]! & ~WRITE;
  const high = from.words[from.at + 1]!;
  setEntry(from.words, from.at, low, high);
  const first = pfnOf(low, high);
  for (let page = 0; page < GRANULE_PAGES; page++) shareFrame(child, first + page);
  setEntry(to.words, to.at, low, high);
}
