/**
 * How a classifier reads the leaves of a granule. On a frozen machine it reads the page tables
 * themselves. On a running machine it reads a copy, which is made under the lock of the table and
 * holds references, so that no frame or swap slot in it goes away.
 */

import { cacheLookup } from '../../mmu/files/page-cache.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { PG } from '../../mmu/physical/page-struct.ts';
import {
  lockTable,
  PageCursor,
  unlockTable,
  type WalkEnd,
  walk,
} from '../../mmu/tables/page-table.ts';
import { isPresent, PTE, pfnOf } from '../../mmu/tables/pte.ts';
import { PIN } from '../../shared/dump/pin-table.ts';
import { GRANULE_PAGES, PAGE_SIZE } from '../../shared/page.ts';
import type { WorkerFaults } from '../task/worker-faults.ts';

/** The leaves of one granule after the other. */
export interface Leaves {
  /** From word `at` on: the 512 entries of the granule, two words each, or its one huge leaf. */
  readonly words: Int32Array;
  readonly at: number;
  /** Moves to the granule that starts at page `granule`, and returns what is there. */
  enter(granule: number): WalkEnd;
  /** Frame of page `index` in the page cache of a file that is mapped at page `vpn`, or 0. */
  cached(file: number, index: number, vpn: number): number;
}

/** Reads the tables themselves. The machine is frozen. */
export class FrozenLeaves implements Leaves {
  readonly #mm: Mm;

  constructor(mm: Mm) {
    this.#mm = mm;
  }

  get words(): Int32Array {
    return this.#mm.cursor.words;
  }

  get at(): number {
    return this.#mm.cursor.at;
  }

  enter(granule: number): WalkEnd {
    return walk(this.#mm, this.#mm.pgd, granule, this.#mm.cursor);
  }

  cached(file: number, index: number): number {
    return cacheLookup(this.#mm, file, index);
  }
}

/**
 * Copies the leaves, and takes a reference on each frame and swap slot that they show (see
 * pin-table.ts). The dump holds the mmap lock for reading. The thread of `mm` is an onlooker, whose
 * locks protect no change.
 */
export class PinnedLeaves implements Leaves {
  readonly words: Int32Array = new Int32Array(GRANULE_PAGES * 2);
  readonly at = 0;
  readonly #mm: Mm;
  readonly #pins: Int32Array;
  readonly #cursor = new PageCursor();
  readonly #faults: WorkerFaults | undefined;
  /** Number of a page in the pin table = vpn + this offset. */
  #base = 0;

  constructor(mm: Mm, pins: Int32Array, faults?: WorkerFaults) {
    this.#mm = mm;
    this.#pins = pins;
    this.#faults = faults;
  }

  /** Begins a unit at page `start`. In the pin table its pages are numbered from `first` on. */
  beginUnit(start: number, first: number): void {
    this.#base = first - start;
  }

  enter(granule: number): WalkEnd {
    for (;;) {
      const found = walk(this.#mm, this.#mm.pgd, granule, this.#cursor);
      if (found === 'bad') return found; // it stays bad while the mmap lock is held
      if (found === 'none' && this.#cursor.level !== 2) return found;
      const copied = this.#copyUnderLock(found, granule);
      if (copied !== undefined) return copied;
    }
  }

  /** Copies under the lock of the table. Undefined if the entry has changed since the walk. */
  #copyUnderLock(found: WalkEnd, granule: number): WalkEnd | undefined {
    const mm = this.#mm;
    const { table, words, at } = this.#cursor;
    lockTable(mm, table);
    try {
      const low = words[at]!;
      if (found === 'none') return low === 0 ? 'none' : undefined;
      if (found === 'table') this.#copyTable(granule);
      else if (low === 0 || (low & PTE.HUGE) === 0) return undefined;
      else this.#copyHuge(granule, low, words[at + 1]!);
      return 'table';
    } finally {
      unlockTable(mm, table);
    }
  }

  #copyTable(granule: number): void {
    const { words, at } = this.#cursor;
    const copy = this.words;
    for (let page = 0; page < GRANULE_PAGES; page++) {
      const low = words[at + page * 2]!;
      const high = words[at + page * 2 + 1]!;
      copy[page * 2] = low;
      copy[page * 2 + 1] = high;
      if (low !== 0) this.#pinLeaf(granule + page, low, high);
    }
  }

  /** Copies a 2 MiB leaf as 512 small leaves that show the same frames. */
  #copyHuge(granule: number, low: number, high: number): void {
    for (let page = 0; page < GRANULE_PAGES; page++) {
      const small = (low & ~PTE.HUGE) + page * PAGE_SIZE; // no carry, since its frames are aligned
      this.words[page * 2] = small;
      this.words[page * 2 + 1] = high;
      this.#pinLeaf(granule + page, small, high);
    }
  }

  #pinLeaf(vpn: number, low: number, high: number): void {
    const { swap } = this.#mm.machine;
    if (isPresent(low)) {
      this.#pinFrame(this.#pinOf(vpn), pfnOf(low, high));
      this.#faults?.afterLeaf();
      return;
    }
    const slot = swap.slotOf(low, high);
    if (slot < 0) return;
    const pfn = swap.frameOf(slot);
    const at = this.#pinOf(vpn);
    swap.get(slot, this.#mm.thread);
    this.#pins[at] = pfn;
  }

  #pinOf(vpn: number): number {
    return (this.#base + vpn) * PIN.WORDS + PIN.LEAF;
  }

  #pinFrame(at: number, pfn: number): void {
    const { memory, pages } = this.#mm;
    if (!memory.has(pfn) || (pages.flags(pfn) & PG.RESERVED) !== 0) return;
    if (pages.references(pfn) < 1) return; // an entry that was written by hand shows a free frame
    pages.get(pfn);
    this.#pins[at] = pfn;
  }

  cached(file: number, index: number, vpn: number): number {
    const mm = this.#mm;
    const lock = mm.files.lock(file);
    lock.lock(mm.thread, true);
    try {
      const pfn = cacheLookup(mm, file, index);
      if (pfn !== 0) this.#pinFrame(this.#pinOf(vpn) + PIN.CACHED, pfn);
      return pfn;
    } finally {
      lock.unlock(mm.thread);
    }
  }
}
