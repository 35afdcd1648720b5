/**
 * Dirty pages: which pages were written since an instant (the kernel's soft-dirty bits: pagemap's
 * bit 55, and clear_refs with 4).
 *
 *   new mapping        all of its pages are dirty, written or not   (no CLEAN in its VMA)
 *   write              sets the soft-dirty bit in the entry, together with the processor's D bit
 *   mremap             the pages that it moves are dirty at their new place
 *   fork               the child's pages are dirty where the parent's are
 *   swap, 2 MiB pages  the bit goes with the page
 *
 * Setting the bit costs nothing, since the D bit is set in the same word by the same store. So it
 * is always set, and tracking needs no switch. Linux write-protects the leaves when it clears the
 * bits, because its processor knows the D bit only. Here every store of the machine sets both.
 *
 * Adopted memory is written by its owner, whom no entry notices. A bank may have marks, one byte
 * per page, that the owner sets after it has written a page (`physical/adopted.ts`).
 *
 * What has no entry, or an empty one, is not listed even if its bytes have changed to zeros: a dump
 * finds such pages by their class. A fresh frame of zeros counts as written, also after a read.
 */
import type { DirtyRanges } from '../../shared/dump/dirty-ranges.ts';
import { addressOf, PAGE_SIZE } from '../../shared/page.ts';
import { MMAP, RANK } from '../../shared/sync/held-locks.ts';
import { einval, forEachVma, parseUserRange } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import { setEntry, withSoftDirty } from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { walkRange } from '../tables/walk-range.ts';
import { collectDirty } from './dirty-scan.ts';

/** Bytes [start, end) of an address space, whole pages, that may have changed. */
export interface DirtyRange {
  /** Address of the first byte. */
  readonly start: number;
  /** Address after the last byte. */
  readonly end: number;
}

/**
 * The dirty pages since the last call, or since tracking began; they are clean from now on. The
 * mmap lock is held for writing, so no store is under way.
 */
export function takeDirty(mm: Mm): DirtyRange[] {
  const pages = takeAll(mm, false);
  const found: DirtyRange[] = [];
  for (let at = 0; at < pages.length; at += 2) {
    found.push({ start: addressOf(pages[at]!), end: addressOf(pages[at + 1]!) });
  }
  return found;
}

/**
 * The instant at which the pages of the mm were clean last, for `dirtySince` and `takeSince`. It is
 * a number that grows with every `takeDirty` and `takeSince`. The mmap lock is held in either mode.
 */
export function dirtyInstant(mm: Mm): number {
  return mm.struct.get(MM_FIELD.DIRTY_INSTANT);
}

/**
 * The pages that may have changed since `instant`, which `dirtyInstant` has returned, as ascending
 * ranges. Nothing is cleared. Undefined if nobody knows any more, since dirty pages were taken in
 * the meantime. Pages that have no content of their own by now, as after MADV_DONTNEED, need not be
 * in it. Listed are all pages of which no entry tells: those of shared mappings, of files and of
 * devices, and adopted pages without marks.
 *
 * The mmap lock is held for writing, or for reading while the machine is frozen.
 */
export function dirtySince(mm: Mm, instant: number): DirtyRanges | undefined {
  mm.threads.assertHeld(mm.thread, MMAP, 'dirty pages are looked at');
  if (dirtyInstant(mm) !== instant) return undefined;
  return Float64Array.from(collectDirty(mm, { clears: false, listsUnknown: true }));
}

/** As `dirtySince`, and the pages are clean from now on. The mmap lock is held for writing. */
export function takeSince(mm: Mm, instant: number | undefined): DirtyRanges | undefined {
  const isKnown = dirtyInstant(mm) === instant;
  const pages = takeAll(mm, true);
  return isKnown ? Float64Array.from(pages) : undefined;
}

function takeAll(mm: Mm, listsUnknown: boolean): number[] {
  mm.threads.assertHeld(mm.thread, RANK.MMAP_WRITE, 'dirty pages are taken');
  revokeTranslations(mm);
  const found = collectDirty(mm, { clears: true, listsUnknown });
  endDirtyPeriod(mm);
  return found;
}

/**
 * Ends what is known since the last instant: `dirtySince` will not trust it. For those who change
 * entries in a way that no soft-dirty bit tells. The mmap lock is held for writing.
 */
export function endDirtyPeriod({ struct }: Mm): void {
  struct.set(MM_FIELD.DIRTY_INSTANT, struct.get(MM_FIELD.DIRTY_INSTANT) + 1);
}

/**
 * Marks the pages of a range of bytes dirty that are in memory, in swap or in a backing. Throws
 * EINVAL, and ENOMEM at a hole, after the rest was marked. The mmap lock is held in either mode.
 */
export function markDirty(mm: Mm, address: number, length: number): void {
  if (!Number.isSafeInteger(address) || !Number.isSafeInteger(length)) {
    throw einval(`mark: ${address}, ${length}: expected an address and a number of bytes`);
  }
  const inPage = address % PAGE_SIZE;
  const range = parseUserRange('mark', address - inPage, length === 0 ? 0 : length + inPage);
  if (range === undefined) return;
  forEachVma(mm, 'mark', range, (_slot, from, to) => markPages(mm, from, to));
}

/** Marks the pages [from, to) that have entries. The mmap lock is held in either mode. */
export function markPages(mm: Mm, from: number, to: number): void {
  const { cursor } = mm;
  walkRange(mm, from, to, 'look', (found, vpn, end) => {
    const { words, at: first, table } = cursor;
    const count = found === 'huge' ? 1 : end - vpn;
    lockTable(mm, table);
    for (let at = first; at < first + count * 2; at += 2) {
      const low = words[at]!;
      const high = words[at + 1]!;
      const marked = withSoftDirty(low, high);
      if (marked !== low) setEntry(words, at, marked, high);
    }
    unlockTable(mm, table);
  });
}
