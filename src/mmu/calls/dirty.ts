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
 */
import { addressOf, GRANULE_PAGES, PAGE_SIZE } from '../../shared/page.ts';
import { MMAP, RANK } from '../../shared/sync/held-locks.ts';
import { einval, forEachVma, parseUserRange } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';
import type { AdoptedMarks } from '../physical/adopted-marks.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import { isPresent, PTE, pfnOf, setEntry, withSoftDirty } from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { walkRange } from '../tables/walk-range.ts';

const { SOFT_DIRTY, SWAP_SOFT_DIRTY } = PTE;
/** PRESENT and PROTNONE: an entry with one of them is present (`isPresent`). */
const PRESENT_BITS = PTE.PRESENT | PTE.PROTNONE;

/** Bytes [start, end) of an address space, whole pages, that may have changed. */
export interface DirtyRange {
  /** Address of the first byte. */
  readonly start: number;
  /** Address after the last byte. */
  readonly end: number;
}

/** What a collection does besides listing the dirty pages. */
interface Wanted {
  /** Whether what is listed is clean from now on. */
  readonly clears: boolean;
  /** Whether adopted pages of a bank without marks are listed: nobody knows if they changed. */
  readonly listsUnknown: boolean;
}

/**
 * The dirty pages since the last call, or since tracking began; they are clean from now on. The
 * mmap lock is held for writing, so no store is under way.
 */
export function takeDirty(mm: Mm): DirtyRange[] {
  mm.threads.assertHeld(mm.thread, RANK.MMAP_WRITE, 'dirty pages are taken');
  revokeTranslations(mm);
  const found = collect(mm, { clears: true, listsUnknown: false });
  mm.struct.set(MM_FIELD.DIRTY_INSTANT, mm.struct.get(MM_FIELD.DIRTY_INSTANT) + 1);
  return found;
}

/**
 * The instant at which the pages of the mm were clean last, for `dirtySince`. It is a number that
 * grows with every `takeDirty`. The mmap lock is held in either mode.
 */
export function dirtyInstant(mm: Mm): number {
  return mm.struct.get(MM_FIELD.DIRTY_INSTANT);
}

/**
 * The pages that may have changed since `instant`, which `dirtyInstant` has returned. Nothing is
 * cleared. Undefined if nobody knows any more, since dirty pages were taken in the meantime. Pages
 * that have no content of their own by now, as after MADV_DONTNEED, need not be in it. Adopted
 * pages without marks are in it. What other mms and files write to shared memory is not.
 *
 * The mmap lock is held for writing, or for reading while the machine is frozen.
 */
export function dirtySince(mm: Mm, instant: number): DirtyRange[] | undefined {
  mm.threads.assertHeld(mm.thread, MMAP, 'dirty pages are looked at');
  if (dirtyInstant(mm) !== instant) return undefined;
  return collect(mm, { clears: false, listsUnknown: true });
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

/** The ranges found so far. Neighbours are joined. */
class Ranges {
  readonly list: DirtyRange[] = [];
  #from = 0;
  #to = 0;

  /** Adds pages [from, to), which lie behind all others. */
  add(from: number, to: number): void {
    if (from !== this.#to) {
      this.#flush();
      this.#from = from;
    }
    this.#to = to;
  }

  done(): DirtyRange[] {
    this.#flush();
    return this.list;
  }

  #flush(): void {
    if (this.#from === this.#to) return;
    this.list.push({ start: addressOf(this.#from), end: addressOf(this.#to) });
  }
}

function collect(mm: Mm, wanted: Wanted): DirtyRange[] {
  const { vmas } = mm;
  const ranges = new Ranges();
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const isNew = !vmas.isClean(slot);
    if (isNew) ranges.add(vmas.start(slot), vmas.end(slot));
    if (!isNew || wanted.clears) collectVma(mm, slot, wanted, isNew ? new Ranges() : ranges);
    if (wanted.clears) vmas.setClean(slot, true);
  }
  return ranges.done();
}

function collectVma(mm: Mm, slot: number, wanted: Wanted, ranges: Ranges): void {
  const { cursor, vmas, machine } = mm;
  const marks = machine.adoptedMarks;
  walkRange(mm, vmas.start(slot), vmas.end(slot), 'look', (found, vpn, end) => {
    const { words, at } = cursor;
    if (found === 'huge') {
      // Of a leaf of 2 MiB, only the part that lies in the VMA is listed.
      if ((words[at]! & SOFT_DIRTY) === 0) return;
      ranges.add(vpn, end);
      const isWhole = vpn % GRANULE_PAGES === 0 && end - vpn === GRANULE_PAGES;
      if (wanted.clears && isWhole) words[at]! &= ~SOFT_DIRTY;
      return;
    }
    if (marks === undefined) collectTable(words, at, vpn, end, wanted.clears, ranges);
    else collectMarked(mm, marks, vpn, end, wanted, ranges);
  });
}

/**
 * Adds the dirty pages [vpn, end) of a table whose first entry is words[at], and makes their
 * entries clean with `clears`. Plain stores: no other thread changes the entries.
 */
function collectTable(
  words: Int32Array,
  at: number,
  vpn: number,
  end: number,
  clears: boolean,
  ranges: Ranges,
): void {
  let from = -1;
  for (let page = vpn, next = at; page < end; page++, next += 2) {
    const low = words[next]!;
    const bit = (low & PRESENT_BITS) !== 0 ? SOFT_DIRTY : SWAP_SOFT_DIRTY;
    if ((low & bit) !== 0) {
      if (from < 0) from = page;
      if (clears) words[next] = low & ~bit;
    } else if (from >= 0) {
      ranges.add(from, page);
      from = -1;
    }
  }
  if (from >= 0) ranges.add(from, end);
}

/**
 * Does the same in a machine with adopted memory: a page is dirty, too, if its owner has marked it,
 * or, with `listsUnknown`, if nobody knows. The mark of a page goes with `clears`, unless other
 * mappings of the page need it as well.
 */
function collectMarked(
  mm: Mm,
  marks: AdoptedMarks,
  vpn: number,
  end: number,
  { clears, listsUnknown }: Wanted,
  ranges: Ranges,
): void {
  const { words, at } = mm.cursor;
  for (let page = vpn, next = at; page < end; page++, next += 2) {
    const low = words[next]!;
    const bit = (low & PRESENT_BITS) !== 0 ? SOFT_DIRTY : SWAP_SOFT_DIRTY;
    let isDirty = (low & bit) !== 0;
    if (isDirty && clears) words[next] = low & ~bit;
    const pfn = isPresent(low) ? pfnOf(low, words[next + 1]!) : 0;
    if (pfn >= marks.first) {
      const isMarked = clears
        ? marks.take(pfn, mm.pages.mapCount(pfn) > 1)
        : marks.has(pfn, listsUnknown);
      isDirty ||= isMarked;
    }
    if (isDirty) ranges.add(page, page + 1);
  }
}
