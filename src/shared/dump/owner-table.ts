/**
 * Which mapping stores the pages of unreachable files (row 12 of docs/CLASSIFICATION.md). The plan
 * writes the tables, and the workers read them.
 *
 * An interval says that its mapping stores the pages of the file at these addresses. A page is an
 * exception if a rival, an earlier mapping of the same page, shows it: the rival then stores it.
 * Pages of such mappings that are in no interval are stored elsewhere.
 */
import { readU64, writeU64 } from '../u64.ts';

/** The words of an interval. */
export const OWNER_INTERVAL = {
  MM: 0, //     ordinal of the mm
  START: 1, //  first page, u64
  PAGES: 3, //  u64
  RIVAL: 5, //  index of its first rival
  RIVALS: 6, // number of rivals
  WORDS: 8,
} as const;

/** The words of a rival. */
export const OWNER_RIVAL = {
  MM: 0, //    ordinal of the mm
  START: 1, // first page of the mapping, u64
  PAGES: 3, // u64
  PGOFF: 5, // page of the file at START, u64
  WORDS: 8,
} as const;

/** A mapping of an unreachable file. */
export interface FileMapping {
  readonly mm: number; //    ordinal
  readonly start: number; // page
  readonly pages: number;
  readonly pgoff: number;
}

/** An interval, decoded. */
export interface OwnedInterval {
  readonly mm: number;
  readonly start: number; // page
  readonly pages: number;
  readonly rival: number;
  readonly rivals: number;
}

/** Both tables, as they are posted. Intervals ascend by mm and page. Immutable. */
export interface OwnerBuffers {
  readonly intervals: SharedArrayBuffer;
  readonly rivals: SharedArrayBuffer;
}

/** Encodes both tables. Precondition: the intervals ascend by mm and page, and do not overlap. */
export function encodeOwners(
  intervals: readonly OwnedInterval[],
  rivals: readonly FileMapping[],
): OwnerBuffers {
  const intervalBuffer = new SharedArrayBuffer(intervals.length * OWNER_INTERVAL.WORDS * 4);
  const rivalBuffer = new SharedArrayBuffer(rivals.length * OWNER_RIVAL.WORDS * 4);
  const words = new Int32Array(intervalBuffer);
  intervals.forEach((interval, index) => {
    const at = index * OWNER_INTERVAL.WORDS;
    words[at + OWNER_INTERVAL.MM] = interval.mm;
    writeU64(words, at + OWNER_INTERVAL.START, interval.start);
    writeU64(words, at + OWNER_INTERVAL.PAGES, interval.pages);
    words[at + OWNER_INTERVAL.RIVAL] = interval.rival;
    words[at + OWNER_INTERVAL.RIVALS] = interval.rivals;
  });
  const rivalWords = new Int32Array(rivalBuffer);
  rivals.forEach((rival, index) => {
    const at = index * OWNER_RIVAL.WORDS;
    rivalWords[at + OWNER_RIVAL.MM] = rival.mm;
    writeU64(rivalWords, at + OWNER_RIVAL.START, rival.start);
    writeU64(rivalWords, at + OWNER_RIVAL.PAGES, rival.pages);
    writeU64(rivalWords, at + OWNER_RIVAL.PGOFF, rival.pgoff);
  });
  return { intervals: intervalBuffer, rivals: rivalBuffer };
}

/** Both tables, as a worker sees them. */
export class OwnerTable {
  readonly #intervals: Int32Array;
  readonly #rivals: Int32Array;
  readonly #count: number;

  constructor(buffers: OwnerBuffers) {
    this.#intervals = new Int32Array(buffers.intervals);
    this.#rivals = new Int32Array(buffers.rivals);
    this.#count = this.#intervals.length / OWNER_INTERVAL.WORDS;
  }

  /** The interval that holds page `vpn` of the mm. Undefined if the page is stored elsewhere. */
  find(mm: number, vpn: number): OwnedInterval | undefined {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const interval = this.#interval(middle);
      if (interval.mm > mm || (interval.mm === mm && interval.start > vpn)) high = middle;
      else low = middle + 1;
    }
    if (low === 0) return undefined;
    const found = this.#interval(low - 1);
    return found.mm === mm && vpn < found.start + found.pages ? found : undefined;
  }

  /** A rival, by its index. */
  rival(index: number): FileMapping {
    const at = index * OWNER_RIVAL.WORDS;
    return {
      mm: this.#rivals[at + OWNER_RIVAL.MM]!,
      start: readU64(this.#rivals, at + OWNER_RIVAL.START),
      pages: readU64(this.#rivals, at + OWNER_RIVAL.PAGES),
      pgoff: readU64(this.#rivals, at + OWNER_RIVAL.PGOFF),
    };
  }

  #interval(index: number): OwnedInterval {
    const at = index * OWNER_INTERVAL.WORDS;
    return {
      mm: this.#intervals[at + OWNER_INTERVAL.MM]!,
      start: readU64(this.#intervals, at + OWNER_INTERVAL.START),
      pages: readU64(this.#intervals, at + OWNER_INTERVAL.PAGES),
      rival: this.#intervals[at + OWNER_INTERVAL.RIVAL]!,
      rivals: this.#intervals[at + OWNER_INTERVAL.RIVALS]!,
    };
  }
}
