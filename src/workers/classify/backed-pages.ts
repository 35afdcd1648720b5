/**
 * Pages that lie in a backing, as a dump reads them: into a buffer of the worker that holds the
 * pages of its unit. No frame, no page struct and no entry changes. The buffer is one more bank of
 * the worker's view of physical memory, behind those of frames and swap slots. So a page in it has a
 * number like a frame's, by which the zero test, the digests and the copies reach it. Such a number
 * never stands in an entry, and it has no page struct.
 *
 * The buffer belongs to the thread and stays warm from dump to dump.
 */
import { BACKINGS_MAX } from '../../mmu/backing/backing-table.ts';
import { neighbours } from '../../mmu/backing/load-backed.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { type PageStructs, PG } from '../../mmu/physical/page-struct.ts';
import { BANK_MASK, type PhysicalMemory } from '../../mmu/physical/physical-memory.ts';
import { backingOf, isMerged, placeOf } from '../../mmu/tables/pte.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';

/** Places of a backing. A place and the number of its backing make one number below 2^47. */
const PLACES = 2 ** 40;
/** What is added to that number for a page that KSM has merged. */
const MERGED_UNIT = PLACES * BACKINGS_MAX;

let kept: WasmMemory | undefined;

/** The buffer of this thread, of at least `bytes` bytes. */
function bufferOf(bytes: number): WasmMemory {
  if (kept === undefined || kept.buffer.byteLength < bytes) {
    const pages = Math.ceil(bytes / WASM_PAGE);
    kept = new Memory({ initial: pages, maximum: pages, shared: true });
  }
  return kept;
}

/** Reads the backed pages of one unit after the other. Every worker has one object of its own. */
export class BackedPages {
  readonly #mms: readonly Mm[];
  readonly #bytes: Uint8Array;
  /** Number of the first page of the buffer. */
  readonly #base: number;
  /** What each page of the unit is: see `identityOf`. */
  readonly #identities: Float64Array;
  /** Whether the identities of all units have a place of their own, so that they outlast this pass. */
  readonly #isKept: boolean;
  /** Whether somebody looks at the bytes. If not, they are not read. */
  readonly #needsBytes: boolean;
  #unitStart = 0;
  #first = 0;
  /** Pages [.., #loadedTo) of the run at hand are in the buffer. */
  #loadedTo = 0;

  /**
   * Adds the buffer to `memory`, which is this worker's own. `unitPages`: pages of the longest unit.
   * `identities`: 8 bytes for each page of all units, if a later pass has to load the pages again.
   */
  constructor(
    mms: readonly Mm[],
    memory: PhysicalMemory,
    unitPages: number,
    needsBytes: boolean,
    identities: SharedArrayBuffer | undefined,
  ) {
    this.#mms = mms;
    const buffer = bufferOf(unitPages * PAGE_SIZE);
    this.#base = memory.addBank(buffer, unitPages * PAGE_SIZE);
    this.#bytes = memory.bytesOf(this.#base);
    this.#needsBytes = needsBytes;
    this.#isKept = identities !== undefined;
    this.#identities =
      identities === undefined ? new Float64Array(unitPages) : new Float64Array(identities);
  }

  /** Begins a unit at page `start`. Its pages are numbered from `first` on in all units. */
  begin(start: number, first: number): void {
    this.#unitStart = start;
    this.#first = this.#isKept ? first : 0;
    this.#loadedTo = 0;
  }

  /** Whether the number is that of a page in the buffer. */
  owns(pfn: number): boolean {
    return pfn >= this.#base;
  }

  /** What the page in the buffer is: see `identityOf`. */
  identity(pfn: number): number {
    return this.#identities[this.#first + pfn - this.#base]!;
  }

  /** Whether KSM has merged the page in the buffer. */
  isMerged(pfn: number): boolean {
    return -2 - this.identity(pfn) >= MERGED_UNIT;
  }

  /** The number of page `vpn` of the unit. */
  numberOf(vpn: number): number {
    return this.#base + vpn - this.#unitStart;
  }

  /**
   * Reads page `vpn`, whose entry at words[at] is backed, and with it the pages behind the following
   * entries that are neighbours in the backing. Returns how many pages from `vpn` on are there: at
   * most `limit`. Throws PROCESS_GONE or INPUT_FAILED if they cannot be read.
   */
  load(mm: number, vpn: number, words: Int32Array, at: number, limit: number): number {
    if (vpn >= this.#loadedTo) {
      const low = words[at]!;
      const high = words[at + 1]!;
      const pages = neighbours(words, at, limit);
      this.#note(vpn - this.#unitStart, pages, identityOf(low, high));
      if (this.#needsBytes) this.#read(mm, vpn, backingOf(high), placeOf(low, high), pages);
      this.#loadedTo = vpn + pages;
    }
    return this.#loadedTo - vpn;
  }

  /** Whether page `vpn` of the unit is there. */
  isLoaded(vpn: number): boolean {
    return vpn < this.#loadedTo;
  }

  /**
   * Reads `pages` pages from `vpn` on, which are pages of a file: neighbours in the backing from
   * `place` on. Throws PROCESS_GONE if they cannot be read.
   */
  loadFile(mm: number, vpn: number, backing: number, place: number, pages: number): void {
    this.#note(vpn - this.#unitStart, pages, -2 - (backing * PLACES + place));
    if (this.#needsBytes) this.#read(mm, vpn, backing, place, pages);
    this.#loadedTo = vpn + pages;
  }

  /** Loads once more the pages among sources[from] to sources[to - 1] that an earlier pass noted. */
  reload(mm: number, sources: Int32Array, from: number, to: number): void {
    for (let source = from; source < to; ) {
      const pfn = sources[source]!;
      if (!this.owns(pfn)) {
        source++;
        continue;
      }
      const pages = this.#neighboursOf(sources, source, to);
      const place = (-2 - this.identity(pfn)) % MERGED_UNIT;
      const vpn = this.#unitStart + (pfn - this.#base);
      this.#read(mm, vpn, Math.floor(place / PLACES), place % PLACES, pages);
      source += pages;
    }
  }

  /** Number of pages from sources[source] on that are neighbours in the buffer and the backing. */
  #neighboursOf(sources: Int32Array, source: number, to: number): number {
    const pfn = sources[source]!;
    const identity = this.identity(pfn);
    let pages = 1;
    while (source + pages < to && sources[source + pages] === pfn + pages) {
      if (this.identity(pfn + pages) !== identity - pages) break;
      pages++;
    }
    return pages;
  }

  #note(index: number, pages: number, identity: number): void {
    for (let page = 0; page < pages; page++) {
      this.#identities[this.#first + index + page] = identity - page;
    }
  }

  #read(ordinal: number, vpn: number, backing: number, place: number, pages: number): void {
    const mm = this.#mms[ordinal]!;
    const at = (this.numberOf(vpn) & BANK_MASK) * PAGE_SIZE;
    try {
      mm.machine.backings.read(backing, place, pages, this.#bytes, at);
    } catch (error) {
      if (error instanceof MmdumpError) throw named(error, mm, ordinal, vpn);
      throw error;
    }
  }
}

/** The error of a page that cannot be read, with the mm and the VMA that show it. */
function named(error: MmdumpError, { vmas }: Mm, mm: number, vpn: number): MmdumpError {
  const slot = vmas.lookup(vpn);
  const vmaStart = addressOf(vmas.start(slot));
  const vmaEnd = addressOf(vmas.end(slot));
  const text = `mm ${mm}, VMA ${hex(vmaStart)}-${hex(vmaEnd)}: ${error.message}`;
  return new MmdumpError(error.code, text, { ...error.fields, mm, vmaStart, vmaEnd });
}

/**
 * What a frame is to other mms: the frame itself, or the backed page from which it was loaded if it
 * was not written since (see PAGE_STRUCT). Then siblings of a fork still show the same page, whether
 * each of them has touched it or not.
 */
export function identityOfFrame(pages: PageStructs, pfn: number): number {
  if ((pages.flags(pfn) & (PG.ANON | PG.KSM)) !== PG.ANON) return pfn;
  const high = pages.originHigh(pfn);
  return high === 0 ? pfn : identityOf(pages.originLow(pfn), high);
}

/**
 * A number that names the page of a backed entry: equal numbers stand for the same page, and to be
 * merged by KSM is part of it. It is negative, so it equals no number of a frame or swap slot, and
 * it is not -1.
 */
export function identityOf(low: number, high: number): number {
  const merged = isMerged(low) ? MERGED_UNIT : 0;
  return -2 - (merged + backingOf(high) * PLACES + placeOf(low, high));
}
