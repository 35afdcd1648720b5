/**
 * Merging pages by content (mm/ksm.c). Pages with equal bytes share one frame, in whatever mms they
 * are, and every leaf maps it read-only.
 *
 * There is no daemon. `machine.mergePages()` makes one full scan in two passes over all
 * VM_MERGEABLE mappings, as ksmd does: the first finds out which contents occur more than once, the
 * second merges them. A frame with PG.KSM is never written: a store goes to a copy of it
 * (`cow.ts`).
 */
import { crc32 } from 'node:zlib';
import type { Pfn } from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, type PageCursor, unlockTable, walk } from '../tables/page-table.ts';
import {
  highOf,
  isMerged,
  isPresent,
  leafFlags,
  lowOf,
  PTE,
  pfnOf,
  setEntry,
} from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { ensureTables, openTable } from '../tables/shared-table.ts';
import { type LeavesUse, walkRange } from '../tables/walk-range.ts';
import { dropLeaf } from '../tables/zap.ts';
import { describeAnonymous, setLeaf } from './leaf.ts';

/**
 * Marks the frame of the present page `first` as merged, and maps it at the absent pages `others`,
 * read-only everywhere. Imports use it for pages that the process has merged. The caller holds the
 * mmap lock.
 */
export function mapMerged(mm: Mm, first: number, others: readonly number[]): void {
  const { cursor, pages } = mm;
  if (walk(mm, mm.pgd, first, cursor) !== 'table') return;
  openTable(mm, first, cursor);
  lockTable(mm, cursor.table);
  const low = cursor.words[cursor.at]!;
  const high = cursor.words[cursor.at + 1]!;
  revokeTranslations(mm);
  setEntry(cursor.words, cursor.at, low & ~PTE.WRITE, high);
  unlockTable(mm, cursor.table);
  const pfn = pfnOf(low, high);
  pages.addFlags(pfn, PG.KSM);
  for (const vpn of others) {
    const privileges = pagePrivileges(mm.vmas.flags(mm.vmas.lookup(vpn)));
    const bits = leafFlags(privileges.low, false, false);
    ensureTables(mm, mm.pgd, vpn, 1, cursor);
    pages.get(pfn);
    pages.addMapping(pfn);
    lockTable(mm, cursor.table);
    setEntry(cursor.words, cursor.at, lowOf(pfn, bits), highOf(pfn, privileges.high));
    unlockTable(mm, cursor.table);
  }
}

/**
 * One full scan over all mms. It counts how often each content (by crc32) occurs, and keeps the
 * stable frames that other pages are merged with. It holds a reference to each stable frame.
 */
export class MergeScan {
  readonly #counts = new Map<number, number>();
  readonly #stable = new Map<number, Pfn[]>();
  /** Leaves that now map another page's stable frame, and have given up their own frame. */
  merged = 0;

  /** First pass: counts the contents of one mm. The caller holds the mmap lock in either mode. */
  count(mm: Mm): void {
    forEachLeaf(mm, 'look', VM.MERGEABLE, 0, Number.MAX_SAFE_INTEGER, (_slot, _vpn, pfn) => {
      const hash = hashOf(mm, pfn);
      this.#counts.set(hash, (this.#counts.get(hash) ?? 0) + 1);
    });
  }

  /**
   * Second pass: merges pages of one mm whose content occurs more than once. The caller holds the
   * mmap lock for writing, since page tables that snapshots share are copied.
   */
  merge(mm: Mm): void {
    forEachLeaf(
      mm,
      'change',
      VM.MERGEABLE,
      0,
      Number.MAX_SAFE_INTEGER,
      (_slot, _vpn, pfn, cursor, at) => {
        revokeTranslations(mm); // the bytes must stand still while they are compared
        const hash = hashOf(mm, pfn);
        if ((this.#counts.get(hash) ?? 0) > 1) this.#mergeLeaf(mm, hash, pfn, cursor, at);
      },
    );
  }

  /** Drops the references to the stable frames. The caller is inside the freeze gate. */
  finish(mm: Pick<Mm, 'allocator' | 'thread'>): void {
    for (const frames of this.#stable.values()) {
      for (const pfn of frames) mm.allocator.put(pfn, mm.thread);
    }
    this.#stable.clear();
  }

  #mergeLeaf(mm: Mm, hash: number, pfn: Pfn, cursor: PageCursor, at: number): void {
    const frames = this.#stable.get(hash) ?? [];
    if (frames.includes(pfn)) return;
    const { words } = cursor;
    const low = words[at]!;
    const high = words[at + 1]!;
    const same = frames.find((frame) => isEqual(mm, frame, pfn));
    if (same !== undefined) {
      mm.pages.get(same);
      mm.pages.addMapping(same);
      // A frame with an origin has clean leaves only: its content lies in the backing.
      const kept = ~(PTE.WRITE | (mm.pages.originHigh(same) === 0 ? 0 : PTE.DIRTY));
      setEntry(words, at, lowOf(same, low & 0xfff & kept), highOf(same, high & PTE.NX_HIGH));
      dropLeaf(mm, pfn);
      this.merged++;
      return;
    }
    // The leaf must be read-only before the frame is compared with the frames of other leaves.
    setEntry(words, at, low & ~PTE.WRITE, high);
    mm.pages.addFlags(pfn, PG.KSM);
    mm.pages.get(pfn);
    frames.push(pfn);
    this.#stable.set(hash, frames);
  }
}

/**
 * Gives every merged page of [from, to) a frame of its own (MADV_UNMERGEABLE). The caller
 * holds the mmap lock.
 */
export function unmergeRange(mm: Mm, from: number, to: number): void {
  walkRange(mm, from, to, 'change', (found, vpn, end) => {
    if (found === 'table') unmergeBacked(mm, end - vpn);
  });
  forEachLeaf(mm, 'change', 0, from, to, (slot, vpn, pfn, cursor, at) => {
    if ((mm.pages.flags(pfn) & PG.KSM) === 0) return;
    const fresh = mm.allocator.allocate(mm.thread);
    revokeTranslations(mm);
    mm.memory.copy(fresh, pfn);
    describeAnonymous(mm, slot, vpn, fresh);
    cursor.at = at;
    const flags = mm.vmas.flags(slot);
    const isSoft = (cursor.words[at]! & PTE.SOFT_DIRTY) !== 0; // its bytes stay as they are
    setLeaf(cursor, fresh, flags, (flags & VM.WRITE) !== 0, true, isSoft);
    dropLeaf(mm, pfn);
  });
}

/** Makes backed entries of merged pages, from the cursor on, those of ordinary pages. */
function unmergeBacked(mm: Mm, count: number): void {
  const { words, at: first, table } = mm.cursor;
  lockTable(mm, table);
  for (let at = first; at < first + count * 2; at += 2) {
    const low = words[at]!;
    if (isMerged(low)) setEntry(words, at, low & ~PTE.MERGED, words[at + 1]!);
  }
  unlockTable(mm, table);
}

function hashOf(mm: Mm, pfn: number): number {
  return crc32(mm.memory.page(pfn));
}

function isEqual(mm: Mm, a: number, b: number): boolean {
  return Buffer.compare(mm.memory.page(a), mm.memory.page(b)) === 0;
}

type LeafVisit = (slot: number, vpn: number, pfn: Pfn, cursor: PageCursor, at: number) => void;

/**
 * Visits the 4 KiB leaves of anonymous pages in [from, to), in VMAs whose flags have all bits of
 * `wanted`. The lock of the leaf's table is held during a visit. Huge leaves are not visited.
 */
function forEachLeaf(
  mm: Mm,
  use: LeavesUse,
  wanted: number,
  from: number,
  to: number,
  visit: LeafVisit,
): void {
  const { vmas } = mm;
  for (let ordinal = vmas.find(from); ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    if (vmas.start(slot) >= to) return;
    if ((vmas.flags(slot) & wanted) >>> 0 !== wanted) continue;
    const start = Math.max(from, vmas.start(slot));
    walkRange(mm, start, Math.min(to, vmas.end(slot)), use, (found, vpn, end) => {
      if (found === 'table') visitTable(mm, slot, vpn, end - vpn, visit);
    });
  }
}

function visitTable(mm: Mm, slot: number, vpn: number, count: number, visit: LeafVisit): void {
  const { cursor } = mm;
  const { words, table } = cursor;
  const first = cursor.at;
  lockTable(mm, table);
  try {
    for (let page = 0; page < count; page++) {
      const at = first + page * 2;
      const low = words[at]!;
      if (!isPresent(low) || (low & PTE.SPECIAL) !== 0) continue;
      const pfn = pfnOf(low, words[at + 1]!);
      if (!mm.memory.has(pfn)) continue; // the entry was damaged on purpose
      const flags = mm.pages.flags(pfn);
      if ((flags & PG.ANON) === 0 || (flags & (PG.RESERVED | PG.ADOPTED)) !== 0) continue;
      visit(slot, vpn + page, pfn as Pfn, cursor, at);
    }
  } finally {
    unlockTable(mm, table);
  }
}
