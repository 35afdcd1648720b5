/**
 * The load phase: pages from outside into the frames, page tables and page caches of a machine. A
 * worker is an ordinary thread here: every unit passes the freeze gate and holds the mmap lock for
 * reading, leaves are set under their table's lock.
 */
import { crc32 } from 'node:zlib';
import { noteGuards } from '../mmu/fault/guard.ts';
import { cacheInsertLocked, cacheLookup } from '../mmu/files/page-cache.ts';
import { holdMm } from '../mmu/hold.ts';
import { MachineParts } from '../mmu/machine-parts.ts';
import { type Mm, mmOf } from '../mmu/mm.ts';
import { PG, ZERO_PAGE_PFN } from '../mmu/physical/page-struct.ts';
import { ensureTables, lockTable, unlockTable } from '../mmu/tables/page-table.ts';
import {
  highOf,
  leafFlags,
  lowOf,
  MARKER,
  MARKER_HIGH,
  markerLow,
  PTE,
  setEntry,
} from '../mmu/tables/pte.ts';
import { assert } from '../shared/assert.ts';
import { LOAD, LOAD_FLAG, type LoadRun, readLoadRun } from '../shared/dump/load-table.ts';
import type { LoadTask, PhaseReport } from '../shared/dump/tasks.ts';
import { MmdumpError, type Outcome } from '../shared/errors.ts';
import { addressOf, GRANULE_PAGES, granuleEnd, hex, PAGE_SIZE, type Pfn } from '../shared/page.ts';
import { pagePrivileges } from '../shared/vm-flags.ts';
import { FileContents } from './parts/file-contents.ts';
import { Reader } from './parts/read-at.ts';
import { PageSharer } from './parts/share-pages.ts';
import { WorkerFaults } from './parts/worker-faults.ts';
import { runUnits } from './phase.ts';

const DATA_KINDS: ReadonlySet<number> = new Set([LOAD.ANON, LOAD.CACHE, LOAD.UNMAPPED]);

export function load(task: LoadTask): Outcome<PhaseReport> {
  const machine = new MachineParts(task.machine, { thread: task.thread, mayBlock: true });
  WorkerFaults.of(task)?.watch(machine.allocator);
  const mms = task.mms.map(({ slot, generation }) => {
    return { mm: mmOf(machine, slot, task.thread), reference: { machine, slot, generation } };
  });
  const runs = new Int32Array(task.loads);
  const unitStarts = new Int32Array(task.unitStarts);
  const reader = new Reader(task.source);
  const contents = new FileContents(reader);
  const sharer = new PageSharer();
  return runUnits(task, task.unitCount, (unit, phase) => {
    let pages = 0;
    let bytes = 0;
    const last = unitStarts[unit + 1]!;
    for (let index = unitStarts[unit]!; index < last; index++) {
      const run = readLoadRun(runs, index);
      const { mm, reference } = mms[run.mm]!;
      if (run.kind === LOAD.CONTENT) {
        const found = holdMm(mm, reference, 'read', () => contents.load(mm, run));
        bytes += found * PAGE_SIZE;
        if (task.enough > 0 && phase.found(found) >= task.enough) phase.stop();
        pages += run.pages;
        continue;
      }
      if (run.kind === LOAD.SHARE) sharer.share(mms[run.source]!, mms[run.mm]!, run);
      else holdMm(mm, reference, 'read', () => new RunLoader(mm, reader, run).load());
      pages += run.pages;
      if (DATA_KINDS.has(run.kind)) bytes += run.pages * PAGE_SIZE;
    }
    return { pages, bytes };
  });
}

class RunLoader {
  readonly #mm: Mm;
  readonly #reader: Reader;
  readonly #run: LoadRun;
  readonly #slot: number;
  #crc = 0;

  constructor(mm: Mm, reader: Reader, run: LoadRun) {
    this.#mm = mm;
    this.#reader = reader;
    this.#run = run;
    this.#slot = mm.vmas.lookup(run.start);
  }

  load(): void {
    const { kind, start, pages } = this.#run;
    for (let done = 0; done < pages; ) {
      const vpn = start + done;
      const wanted = Math.min(pages - done, granuleEnd(vpn) - vpn);
      done += this.#loadPart(kind, vpn, wanted);
    }
    this.#assertChecksum();
  }

  /** Loads up to `wanted` pages from `vpn` on, in one granule; returns how many. */
  #loadPart(kind: number, vpn: number, wanted: number): number {
    switch (kind) {
      case LOAD.GUARD:
        noteGuards(this.#mm, this.#slot);
        this.#setLeaves(vpn, wanted, markerLow(MARKER.GUARD), MARKER_HIGH, 0);
        return wanted;
      case LOAD.ZERO_PAGE:
        this.#mapFrames(vpn, wanted, ZERO_PAGE_PFN as Pfn, 0);
        return wanted;
      case LOAD.CACHE:
      case LOAD.CACHE_ZERO:
        this.#loadCachePage(vpn);
        return 1;
      default:
        return this.#loadHuge(vpn, wanted) ? wanted : this.#loadFrames(vpn, wanted);
    }
  }

  #loadHuge(vpn: number, wanted: number): boolean {
    if ((this.#run.flags & LOAD_FLAG.HUGE) === 0 || wanted < GRANULE_PAGES) return false;
    const mm = this.#mm;
    ensureTables(mm, mm.pgd, vpn, 2, mm.cursor); // before there are frames that could be lost
    const first = mm.allocator.tryAllocateHuge(mm.thread, false);
    if (first === 0) return false;
    this.#fill(vpn, first, wanted);
    for (let page = 0; page < wanted; page++) this.#describe(first + page, vpn + page, PG.HUGE);
    const privileges = pagePrivileges(mm.vmas.flags(this.#slot));
    const bits = leafFlags(privileges.low, this.#isWritable, true) | PTE.HUGE;
    lockTable(mm, mm.cursor.table);
    setEntry(mm.cursor.words, mm.cursor.at, lowOf(first, bits), highOf(first, privileges.high));
    unlockTable(mm, mm.cursor.table);
    return true;
  }

  /** As many pages as there are neighbouring frames. */
  #loadFrames(vpn: number, wanted: number): number {
    const mm = this.#mm;
    ensureTables(mm, mm.pgd, vpn, 1, mm.cursor); // before there are frames that could be lost
    const { first, count } = mm.allocator.allocateRun(wanted, mm.thread);
    this.#fill(vpn, first, count);
    for (let page = 0; page < count; page++) this.#describe(first + page, vpn + page, 0);
    this.#mapFrames(vpn, count, first, 1);
    return count;
  }

  /** Puts the bytes of page `vpn` and those behind it into frames; frees them if that fails. */
  #fill(vpn: number, first: number, count: number): void {
    const { memory, allocator, thread } = this.#mm;
    const { kind, source, start, flags } = this.#run;
    const bytes = memory.bytesOf(first);
    const at = memory.byteAt(first);
    const length = count * PAGE_SIZE;
    if (!DATA_KINDS.has(kind)) {
      bytes.fill(0, at, at + length);
      return;
    }
    try {
      this.#reader.read(bytes, at, length, source + addressOf(vpn - start));
    } catch (error) {
      for (let page = 0; page < count; page++) allocator.put(first + page, thread);
      throw error;
    }
    if ((flags & LOAD_FLAG.CHECKED) !== 0) {
      this.#crc = crc32(bytes.subarray(at, at + length), this.#crc);
    }
  }

  #describe(pfn: number, vpn: number, extraFlags: number): void {
    const { pages, vmas } = this.#mm;
    if (this.#run.kind === LOAD.UNMAPPED) {
      pages.describe(pfn, 0, 0, 0);
    } else {
      const flags = PG.ANON | PG.SWAPBACKED | extraFlags;
      pages.describe(pfn, flags, vmas.anonVma(this.#slot), vmas.fileIndex(this.#slot, vpn));
    }
    pages.addMapping(pfn);
  }

  get #isWritable(): boolean {
    return (this.#run.flags & LOAD_FLAG.WRITABLE) !== 0;
  }

  /** Leaves for `count` pages from `vpn` on: frames `first`, `first + step`, … */
  #mapFrames(vpn: number, count: number, first: Pfn, step: number): void {
    const privileges = pagePrivileges(this.#mm.vmas.flags(this.#slot));
    const writable = this.#isWritable && first !== ZERO_PAGE_PFN;
    const special = (this.#run.flags & LOAD_FLAG.SPECIAL) !== 0 ? PTE.SPECIAL : 0;
    const bits = leafFlags(privileges.low, writable, writable) | special;
    const high = highOf(first, privileges.high);
    this.#setLeaves(vpn, count, lowOf(first, bits), high, step);
  }

  /** Sets entries of one table; the frame in them grows by `step` from entry to entry. */
  #setLeaves(vpn: number, count: number, low: number, high: number, step: number): void {
    const mm = this.#mm;
    const { cursor } = mm;
    ensureTables(mm, mm.pgd, vpn, 1, cursor);
    lockTable(mm, cursor.table);
    for (let page = 0; page < count; page++) {
      const at = cursor.at + page * 2;
      assert(cursor.words[at] === 0, 'a page is loaded where one is mapped already');
      setEntry(cursor.words, at, low + lowOf(page * step, 0), high);
    }
    unlockTable(mm, cursor.table);
  }

  /** A page of a file that only memory holds: into its page cache, and mapped if asked. */
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

  /** The cached frame behind page `vpn`, loaded if it was not there, with a reference. */
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
      cacheInsertLocked(this.#mm, file, index, pfn);
    } catch (error) {
      this.#mm.allocator.put(pfn, this.#mm.thread);
      throw error;
    }
  }

  #assertChecksum(): void {
    const { flags, crc, start, pages, source, mm } = this.#run;
    if ((flags & LOAD_FLAG.CHECKED) === 0 || this.#crc === crc) return;
    const address = addressOf(start);
    const range = `${hex(address)}-${hex(address + addressOf(pages))}`;
    const slot = this.#slot;
    const vma = `${hex(addressOf(this.#mm.vmas.start(slot)))}-${hex(addressOf(this.#mm.vmas.end(slot)))}`;
    throw new MmdumpError(
      'IMAGE_CHECKSUM',
      `${this.#reader.name}: mm ${mm}, VMA ${vma}, pages ${range} at byte ${source}: ` +
        'payload_crc does not match',
      { mm, address, offset: source },
    );
  }
}
