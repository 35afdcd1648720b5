/**
 * Frames in memory that is not shared, as dumps and comparisons read them: unit by unit, page n of
 * the unit in page n of a berth. So pages and digests are read where they have arrived, and classes
 * and clones are decided by the numbers of the frames themselves.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import type { PhysicalMemory } from '../../mmu/physical/physical-memory.ts';
import { PageCursor, walk } from '../../mmu/tables/page-table.ts';
import { isPresent, pfnOf } from '../../mmu/tables/pte.ts';
import { FERRY_LOAD, type FerryReach } from '../../shared/dump/ferry.ts';
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf, RUN } from '../../shared/dump/run-table.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import type { RunWriter } from '../classify/run-writer.ts';
import { Passage } from './passage.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;

/** The unshared pages of one unit after the other. Every worker has one object of its own. */
export class FerriedPages {
  readonly #memory: PhysicalMemory;
  readonly #passage: Passage;
  readonly #cursor = new PageCursor();
  /** For each page of each berth, the frame whose bytes it has, or 0. */
  readonly #frames: readonly [Int32Array, Int32Array];
  /** The berth of the unit at hand. */
  #berth = 0;
  #start = 0;
  /** First page and mm of the unit whose pages the other berth was asked for, or -1. */
  #aheadStart = -1;
  #aheadSlot = -1;

  private constructor(memory: PhysicalMemory, passage: Passage) {
    this.#memory = memory;
    this.#passage = passage;
    this.#frames = [new Int32Array(passage.pages), new Int32Array(passage.pages)];
  }

  /**
   * The reader for a machine; undefined if all of its memory is shared. `pages`: pages of the longest
   * unit. `side` tells the two sides of a comparison apart.
   */
  static of(
    machine: MachineParts,
    reach: FerryReach | undefined,
    pages: number,
    side = 0,
  ): FerriedPages | undefined {
    const { memory } = machine;
    if (memory.firstUnshared === memory.frames) return undefined;
    return new FerriedPages(memory, new Passage(machine, reach, pages, side));
  }

  /** Whether the bytes of the frame have to be fetched. */
  owns(pfn: number): boolean {
    return this.#memory.isUnshared(pfn);
  }

  /** Begins the unit of `mm` at page `start`. What was fetched for the unit before is gone. */
  begin({ slot }: Mm, start: number): void {
    this.#berth = 1 - this.#berth;
    if (this.#aheadStart !== start || this.#aheadSlot !== slot) this.#empty(this.#berth);
    this.#passage.await(this.#berth);
    this.#aheadStart = -1;
    this.#start = start;
  }

  /** Fetches all unshared pages of the unit, unless that was done ahead. The machine is frozen. */
  fetchUnit(mm: Mm, pages: number): void {
    if (this.#ask(mm, this.#berth, this.#start, pages)) this.#passage.await(this.#berth);
  }

  /** Asks for the pages of the unit that follows, and does not wait. The machine is frozen. */
  askAhead(mm: Mm, start: number, pages: number): void {
    const other = 1 - this.#berth;
    this.#passage.await(other);
    this.#empty(other);
    this.#ask(mm, other, start, pages);
    this.#aheadStart = start;
    this.#aheadSlot = mm.slot;
  }

  /** Fetches what the leaves of a granule of the unit show. They begin at words[at]. */
  fetchLeaves(granule: number, words: Int32Array, at: number): void {
    this.#passage.begin(this.#berth, FERRY_LOAD.FETCH);
    this.#list(this.#berth, granule - this.#start, words, at, GRANULE_PAGES);
    this.#passage.ask(this.#berth);
    this.#passage.await(this.#berth);
  }

  /** The number of the page that has the bytes of the frame, which page `vpn` of the unit shows. */
  numberOf(vpn: number, pfn: number): number {
    const page = vpn - this.#start;
    const held = this.#frames[this.#berth]!;
    if (held[page] !== pfn) {
      held[page] = pfn;
      this.#passage.begin(this.#berth, FERRY_LOAD.FETCH);
      this.#passage.add(this.#berth, pfn, page, 1);
      this.#passage.ask(this.#berth);
      this.#passage.await(this.#berth);
    }
    return this.#numberAt(page);
  }

  /**
   * Replaces the unshared frames of the unit's COPY runs, from run `first` on, by the numbers of
   * the pages that have their bytes. Fetches those that are not there yet.
   */
  place({ runs, runEnd, sources }: RunWriter, first: number): void {
    const held = this.#frames[this.#berth]!;
    this.#passage.begin(this.#berth, FERRY_LOAD.FETCH);
    for (let run = first; run < runEnd; run++) {
      const at = run * WORDS;
      if (classOf(runs[at + CLASS]!) !== PAGE_CLASS.COPY) continue;
      const offset = runs[at + OFFSET]!;
      const source = runs[at + SOURCE]!;
      for (let index = 0; index < runs[at + COUNT]!; index++) {
        const pfn = sources[source + index]!;
        if (!this.#memory.isUnshared(pfn)) continue;
        const page = offset + index;
        if (held[page] !== pfn) this.#add(this.#berth, held, page, pfn);
        sources[source + index] = this.#numberAt(page);
      }
    }
    this.#flush(this.#berth);
    this.#passage.ask(this.#berth);
    this.#passage.await(this.#berth);
  }

  /** Frames that are neighbours and wait to be added to the list as one run. */
  #runPfn = 0;
  #runPage = 0;
  #runPages = 0;

  #add(berth: number, held: Int32Array, page: number, pfn: number): void {
    held[page] = pfn;
    const isNext = pfn === this.#runPfn + this.#runPages && page === this.#runPage + this.#runPages;
    if (this.#runPages > 0 && isNext) {
      this.#runPages++;
      return;
    }
    this.#flush(berth);
    this.#runPfn = pfn;
    this.#runPage = page;
    this.#runPages = 1;
  }

  #flush(berth: number): void {
    if (this.#runPages > 0) this.#passage.add(berth, this.#runPfn, this.#runPage, this.#runPages);
    this.#runPages = 0;
  }

  #numberAt(page: number): number {
    return this.#passage.base + this.#berth * this.#passage.pages + page;
  }

  #empty(berth: number): void {
    this.#frames[berth]!.fill(0);
  }

  /** Asks for the pages of a unit that are not in the berth. False if there are none. */
  #ask(mm: Mm, berth: number, start: number, pages: number): boolean {
    this.#passage.begin(berth, FERRY_LOAD.FETCH);
    let found = 0;
    for (let granule = start; granule < start + pages; granule += GRANULE_PAGES) {
      const count = Math.min(GRANULE_PAGES, start + pages - granule);
      if (walk(mm, mm.pgd, granule, this.#cursor) !== 'table') continue;
      const { words, at } = this.#cursor;
      found += this.#list(berth, granule - start, words, at, count);
    }
    this.#passage.ask(berth);
    return found > 0;
  }

  /** Lists the unshared frames behind `count` leaves that the berth has not. Returns their number. */
  #list(berth: number, page: number, words: Int32Array, at: number, count: number): number {
    const held = this.#frames[berth]!;
    let found = 0;
    for (let index = 0; index < count; index++) {
      const low = words[at + index * 2]!;
      if (!isPresent(low)) continue;
      const pfn = pfnOf(low, words[at + index * 2 + 1]!);
      if (!this.#memory.isUnshared(pfn) || !this.#memory.has(pfn)) continue;
      if (held[page + index] === pfn) continue;
      this.#add(berth, held, page + index, pfn);
      found++;
    }
    this.#flush(berth);
    return found;
  }
}
