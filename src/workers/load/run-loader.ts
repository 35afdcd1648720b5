/** Loads one run after the other into an mm: fills frames, sets leaves, and fills page caches. */
import type { PageRange } from '../../mmu/arguments/range.ts';
import { loadBacked } from '../../mmu/backing/load-backed.ts';
import { mapBacked } from '../../mmu/backing/map-backed.ts';
import { markPages } from '../../mmu/calls/dirty.ts';
import { noteGuards } from '../../mmu/fault/guard.ts';
import { cacheInsert, cacheLookup } from '../../mmu/files/page-cache.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { PG, ZERO_PAGE_PFN } from '../../mmu/physical/page-struct.ts';
import { adoptedRun } from '../../mmu/tables/adopted-run.ts';
import { lockTable, unlockTable } from '../../mmu/tables/page-table.ts';
import {
  highOf,
  leafFlags,
  lowOf,
  MARKER,
  MARKER_HIGH,
  markerLow,
  PTE,
  setEntries,
  setEntry,
} from '../../mmu/tables/pte.ts';
import { ensureTables } from '../../mmu/tables/shared-table.ts';
import { zapRange } from '../../mmu/tables/zap.ts';
import { prepareAnonVma } from '../../mmu/vma/anon-vma.ts';
import { assert } from '../../shared/assert.ts';
import { LOAD, LOAD_FLAG, type LoadRun } from '../../shared/dump/load-table.ts';
import { GRANULE_PAGES, granuleEnd, PAGE_SIZE, type Pfn } from '../../shared/page.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { FerriedFrames } from '../ferry/ferried-frames.ts';
import type { Reader } from '../task/read-at.ts';
import type { FramesDigest } from './frames-digest.ts';
import { NO_RUN, RunBytes } from './run-bytes.ts';
import { assertStillMapped } from './still-mapped.ts';

const DATA_KINDS: ReadonlySet<number> = new Set([LOAD.ANON, LOAD.CACHE, LOAD.UNMAPPED]);

/** Loads runs of one mm. Precondition: its mmap lock is held for reading, inside the gate. */
export class RunLoader {
  readonly #mm: Mm;
  readonly #bytes: RunBytes;
  /** Undefined if all memory of the machine is shared, or this restore does not reach what is not. */
  readonly #ferried: FerriedFrames | undefined;
  #run: LoadRun = NO_RUN;
  /** Slot of the VMA that the run lies in. */
  #slot = 0;
  /** Pages whose bytes are on their way to memory that is not shared. */
  readonly underWay: PageRange[] = [];
  /** Pages that a PREFETCH run has loaded. */
  #fetched = 0;

  constructor(mm: Mm, reader: Reader, digest: FramesDigest, ferried: FerriedFrames | undefined) {
    this.#mm = mm;
    this.#bytes = new RunBytes(mm, reader, digest);
    this.#ferried = ferried;
  }

  /**
   * Loads a run and returns the number of bytes that were read. Throws IMAGE_CHECKSUM if they do
   * not have the stored digest, INPUT_FAILED or PROCESS_GONE if they cannot be read, and ENOMEM if
   * there are no free frames.
   */
  load(run: LoadRun): number {
    const { kind, start, pages } = run;
    this.#run = run;
    this.#fetched = 0;
    this.#slot = this.#mm.vmas.lookup(start);
    const isInto = (run.flags & LOAD_FLAG.INTO) !== 0;
    if (isInto) assertStillMapped(this.#mm, this.#slot, run);
    this.#bytes.begin(run);
    for (let done = 0; done < pages; ) {
      const vpn = start + done;
      const wanted = Math.min(pages - done, granuleEnd(vpn) - vpn);
      done += isInto ? this.#loadInto(kind, vpn, wanted) : this.#loadPart(kind, vpn, wanted);
    }
    this.#bytes.assertDigest(this.#slot);
    return (DATA_KINDS.has(kind) ? pages : this.#fetched) * PAGE_SIZE;
  }

  /** Does what `#loadPart` does where the pages may be there already. */
  #loadInto(kind: number, vpn: number, wanted: number): number {
    const mm = this.#mm;
    const { first, pages } = adoptedRun(mm, vpn, wanted);
    if (first === 0 || kind === LOAD.GUARD) {
      zapRange(mm, vpn, vpn + pages);
      return kind === LOAD.ANON_ZERO ? pages : this.#loadPart(kind, vpn, pages);
    }
    if (mm.memory.isUnshared(first)) {
      this.#loadUnshared(kind, vpn, first, pages);
      this.underWay.push({ from: vpn, to: vpn + pages });
    } else if (DATA_KINDS.has(kind)) this.#bytes.read(vpn, first, pages);
    else mm.memory.zero(first, pages);
    markPages(mm, vpn, vpn + pages);
    return pages;
  }

  /** Reads the bytes of pages into a berth and sends them to their frames, or sends for zeros. */
  #loadUnshared(kind: number, vpn: number, first: number, pages: number): void {
    const ferried = this.#ferried;
    if (ferried === undefined) {
      this.#mm.memory.assertReachable(first);
    } else if (DATA_KINDS.has(kind)) {
      this.#bytes.read(vpn, ferried.room(), pages);
      ferried.store(first, pages);
    } else {
      ferried.zero(first, pages);
    }
  }

  /** Loads at most `wanted` pages from `vpn` on, all in one granule. Returns how many. */
  #loadPart(kind: number, vpn: number, wanted: number): number {
    switch (kind) {
      case LOAD.GUARD:
        noteGuards(this.#mm, this.#slot);
        this.#setLeaves(vpn, wanted, markerLow(MARKER.GUARD), MARKER_HIGH, 0);
        return wanted;
      case LOAD.ZERO_PAGE:
        if (!this.#mm.machine.hasZeroPage) return this.#loadFrames(vpn, wanted);
        this.#mapFrames(vpn, wanted, ZERO_PAGE_PFN as Pfn, 0);
        return wanted;
      case LOAD.CACHE:
      case LOAD.CACHE_ZERO:
        this.#loadCachePage(vpn);
        return 1;
      case LOAD.BACKED:
        this.#mapBacked(vpn, wanted);
        return wanted;
      case LOAD.PREFETCH:
        this.#fetched += loadBacked(this.#mm, vpn, vpn + wanted);
        return wanted;
      default:
        return this.#loadHuge(vpn, wanted) ? wanted : this.#loadFrames(vpn, wanted);
    }
  }

  #mapBacked(vpn: number, wanted: number): void {
    const { file: backing, source, start, flags } = this.#run;
    const isMerged = (flags & LOAD_FLAG.MERGED) !== 0;
    mapBacked(this.#mm, vpn, wanted, backing, source + (vpn - start), isMerged);
  }

  #loadHuge(vpn: number, wanted: number): boolean {
    if ((this.#run.flags & LOAD_FLAG.HUGE) === 0 || wanted < GRANULE_PAGES) return false;
    const mm = this.#mm;
    ensureTables(mm, mm.pgd, vpn, 2, mm.cursor); // first: if it fails, no frames are lost
    const first = mm.allocator.tryAllocateHuge(mm.thread, false);
    if (first === 0) return false;
    this.#fill(vpn, first, wanted);
    this.#describe(first, vpn, wanted, PG.HUGE);
    const privileges = pagePrivileges(mm.vmas.flags(this.#slot));
    const bits = leafFlags(privileges.low, this.#isWritable, true) | PTE.HUGE;
    lockTable(mm, mm.cursor.table);
    setEntry(mm.cursor.words, mm.cursor.at, lowOf(first, bits), highOf(first, privileges.high));
    unlockTable(mm, mm.cursor.table);
    return true;
  }

  /** Loads as many pages as the allocator has neighbouring frames for. Returns how many. */
  #loadFrames(vpn: number, wanted: number): number {
    const mm = this.#mm;
    ensureTables(mm, mm.pgd, vpn, 1, mm.cursor); // first: if it fails, no frames are lost
    const { first, count } = mm.allocator.allocateRun(wanted, mm.thread);
    this.#fill(vpn, first, count);
    this.#describe(first, vpn, count, 0);
    this.#mapFrames(vpn, count, first, 1);
    return count;
  }

  /** Reads the bytes of `count` pages from `vpn` on into frames. Frees the frames if that fails. */
  #fill(vpn: number, first: number, count: number): void {
    const { memory, allocator, thread } = this.#mm;
    if (!DATA_KINDS.has(this.#run.kind)) {
      const at = memory.byteAt(first);
      memory.bytesOf(first).fill(0, at, at + count * PAGE_SIZE);
      return;
    }
    try {
      this.#bytes.read(vpn, first, count);
    } catch (error) {
      for (let page = 0; page < count; page++) allocator.put(first + page, thread);
      throw error;
    }
  }

  /** Writes the page structs of `count` new frames, for the pages from `vpn` on. */
  #describe(first: number, vpn: number, count: number, extraFlags: number): void {
    const mm = this.#mm;
    const { pages, vmas } = mm;
    const isInto = (this.#run.flags & LOAD_FLAG.INTO) !== 0;
    if (this.#run.kind === LOAD.UNMAPPED) {
      pages.describeMapped(first, count, 0, 0, 0, 0);
      return;
    }
    const flags = PG.ANON | PG.SWAPBACKED | extraFlags;
    const index = vmas.fileIndex(this.#slot, vpn);
    const anonVma = isInto ? prepareAnonVma(mm, this.#slot) : vmas.anonVma(this.#slot);
    pages.describeMapped(first, count, flags, anonVma, index, 1);
  }

  get #isWritable(): boolean {
    return (this.#run.flags & LOAD_FLAG.WRITABLE) !== 0;
  }

  /** Makes `count` leaves from page `vpn` on show the frames `first`, `first + step`, … */
  #mapFrames(vpn: number, count: number, first: Pfn, step: number): void {
    const privileges = pagePrivileges(this.#mm.vmas.flags(this.#slot));
    const writable = this.#isWritable && first !== ZERO_PAGE_PFN;
    const special = (this.#run.flags & LOAD_FLAG.SPECIAL) !== 0 ? PTE.SPECIAL : 0;
    const bits = leafFlags(privileges.low, writable, writable) | special;
    const high = highOf(first, privileges.high);
    this.#setLeaves(vpn, count, lowOf(first, bits), high, step);
  }

  /** Sets `count` entries of one table. The frame number grows by `step` from entry to entry. */
  #setLeaves(vpn: number, count: number, low: number, high: number, step: number): void {
    const mm = this.#mm;
    const { cursor } = mm;
    ensureTables(mm, mm.pgd, vpn, 1, cursor);
    lockTable(mm, cursor.table);
    const { words, at } = cursor;
    let found = 0;
    for (let entry = at; entry < at + count * 2; entry += 2) found |= words[entry]!;
    assert(found === 0, 'a page is loaded where one is mapped already');
    setEntries(words, at, count, low, high, lowOf(step, 0));
    unlockTable(mm, cursor.table);
  }

  /** Loads a page of an unreachable file into its page cache, and maps it if MAPPED is set. */
  #loadCachePage(vpn: number): void {
    const { flags } = this.#run;
    const mm = this.#mm;
    if ((flags & LOAD_FLAG.MAPPED) !== 0) ensureTables(mm, mm.pgd, vpn, 1, mm.cursor);
    const pfn = this.#cachedFrame(vpn);
    if ((flags & LOAD_FLAG.MAPPED) === 0) {
      mm.allocator.put(pfn, mm.thread);
    } else {
      mm.pages.addMapping(pfn);
      this.#mapFrames(vpn, 1, pfn, 0);
    }
  }

  /** The frame in the page cache for page `vpn`, with a reference. Loads it if it is not there. */
  #cachedFrame(vpn: number): Pfn {
    const mm = this.#mm;
    const { file, index, start } = this.#run;
    const fileIndex = index + (vpn - start);
    const lock = mm.files.lock(file);
    lock.lock(mm.thread, mm.mayBlock);
    try {
      let pfn = cacheLookup(mm, file, fileIndex);
      if (pfn === 0) {
        pfn = mm.allocator.allocate(mm.thread);
        this.#fill(vpn, pfn, 1);
        mm.pages.describe(pfn, PG.SWAPBACKED, file, fileIndex);
        this.#insert(file, fileIndex, pfn);
      }
      mm.pages.get(pfn);
      return pfn;
    } finally {
      lock.unlock(mm.thread);
    }
  }

  #insert(file: number, index: number, pfn: Pfn): void {
    try {
      cacheInsert(this.#mm, file, index, pfn);
    } catch (error) {
      this.#mm.allocator.put(pfn, this.#mm.thread);
      throw error;
    }
  }
}
