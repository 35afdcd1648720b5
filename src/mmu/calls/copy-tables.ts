/**
 * Copying the page tables of a VMA for a fork (copy_page_range). Private pages become read-only in
 * both mms. The first write then breaks COW: it gets a copy, or reuses the frame if the other mm no
 * longer refers to it. The parent's mmap lock is held for writing, and every change of its entries
 * needs that lock, reclaim included. So no page-table lock of the parent is taken here.
 *
 * An adopted page is copied at once, and the parent keeps its leaf as it is: whoever owns the frame
 * may write it at any time, and no page fault tells (copy_present_page does the same for pages that
 * are pinned).
 */
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';
import { PageCursor } from '../tables/page-table.ts';
import { highOf, isPresent, lowOf, PTE, pfnOf, setEntry } from '../tables/pte.ts';
import { ensureTables, shareFrame } from '../tables/shared-table.ts';
import { walkRange } from '../tables/walk-range.ts';
import type { VmaFields } from '../vma/vma-table.ts';
import { copyAdopted, isAdopted } from './adopted-copy.ts';

const { WRITE, SOFT_DIRTY, NX_HIGH } = PTE;
const FLAGS = 0xfff; // the bits of the low word that are not the pfn's

/**
 * Copies the leaves of `vma` from the parent's tables to the child's. If it throws ENOMEM, a part
 * has been copied, which the caller must remove.
 */
export function copyRange(parent: Mm, child: Mm, vma: VmaFields): void {
  const from = parent.cursor;
  const to = new PageCursor();
  const isShared = (vma.flags & VM.MAYSHARE) !== 0;
  const seen = parent.struct.get(MM_FIELD.ADOPTED_SEEN) >>> 0;
  const copy = { child, isShared, seen };
  walkRange(parent, vma.start, vma.end, 'look', (found, vpn, end) => {
    if (found === 'table') {
      copyTable(copy, from, to, vpn, end - vpn);
      return;
    }
    ensureTables(child, child.pgd, vpn, 2, to);
    copyHuge(child, from, to);
  });
}

/** What a copy of leaves needs to know. */
interface Copy {
  readonly child: Mm;
  /** The mapping is shared: its leaves stay writable. */
  readonly isShared: boolean;
  /** The step at which the parent has looked at its adopted memory. */
  readonly seen: number;
}

function copyTable(copy: Copy, from: PageCursor, to: PageCursor, vpn: number, count: number): void {
  const { child } = copy;
  const { words } = from;
  let hasTable = false;
  for (let page = 0; page < count; page++) {
    const at = from.at + page * 2;
    if (words[at] === 0) continue;
    if (!hasTable) ensureTables(child, child.pgd, vpn, 1, to);
    hasTable = true;
    copyEntry(copy, from, at, to, to.at + page * 2);
  }
}

/**
 * Copies one entry, and takes a reference to the frame or swap slot that it names. A marker is
 * copied as it is.
 */
function copyEntry(
  { child, isShared, seen }: Copy,
  from: PageCursor,
  at: number,
  to: PageCursor,
  there: number,
): void {
  let low = from.words[at]!;
  const high = from.words[at + 1]!;
  if (!isPresent(low)) {
    const slot = child.machine.swap.slotOf(low, high);
    if (slot >= 0) child.machine.swap.get(slot, child.thread);
  } else {
    const pfn = pfnOf(low, high);
    if (isAdopted(child, pfn)) {
      const copy = copyAdopted(child, pfn);
      // The copy is an ordinary frame, so what marks and steps tell has to stand in its leaf.
      const isDirty = child.machine.adoptedMarks?.hasChanged(pfn, seen, false) === true;
      to.words[there] = lowOf(copy, (low & FLAGS) | (isDirty ? SOFT_DIRTY : 0)); // no other thread sees the child yet
      to.words[there + 1] = highOf(copy, high & NX_HIGH);
      return;
    }
    if (!isShared && (low & WRITE) !== 0) {
      low &= ~WRITE;
      from.words[at] = low; // no thread walks the parent: its mmap lock is held for writing
    }
    shareFrame(child, pfn);
  }
  to.words[there] = low; // no other thread sees the child yet
  to.words[there + 1] = high;
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
