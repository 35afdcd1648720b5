/**
 * Work units. A unit is a run of whole granules of one mm that are neighbours in address. It also
 * has the VMAs whose records lie in its part of the image. The coordinator writes all fields,
 * except those that name another writer. A comparison uses units, too, but only for their pages.
 */
import { readU64, writeU64 } from '../u64.ts';

/** The words of a unit. */
export const WORK_UNIT = {
  MM: 0, //        ordinal of the mm in the dump
  START: 1, //     first page, u64
  PAGES: 3, //     pages of address space that it spans
  FIRST: 4, //     sum of PAGES over all earlier units: where its part of the kept tables begins
  RUN_COUNT: 5, // records of its runs in the run table; by the worker that claims the unit
  VMA_FIRST: 6, // ordinal of the first VMA whose record the unit writes
  VMA_END: 7, //   ordinal after the last one
  LEAD_AT: 8, //   bytes of the lead table that come before the unit's own …
  LEAD_BYTES: 9,
  TRAIL_AT: 10, // … and after them
  TRAIL_BYTES: 11,
  SEGMENTS: 12, // segments of a stream that it fills; by the worker that counts them
  SEGMENT: 13, //  number of the first of them; by the coordinator, after the counting pass
  WORDS: 16, //    64 bytes: no two workers write to one cache line
} as const;

const { MM, START, PAGES, FIRST, RUN_COUNT, WORDS } = WORK_UNIT;
const { VMA_FIRST, VMA_END, LEAD_AT, LEAD_BYTES, TRAIL_AT, TRAIL_BYTES } = WORK_UNIT;
const { SEGMENTS, SEGMENT } = WORK_UNIT;

/** Bytes of a table of `units` units. */
export function workUnitBytes(units: number): number {
  return units * WORDS * 4;
}

/** The table of units, over shared memory. */
export class WorkUnits {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /** Writes a unit. `first` is the number of pages in all earlier units. Other fields become 0. */
  set(unit: number, mm: number, start: number, pages: number, first: number): void {
    const at = unit * WORDS;
    this.#words[at + MM] = mm;
    writeU64(this.#words, at + START, start);
    this.#words[at + PAGES] = pages;
    this.#words[at + FIRST] = first;
    for (let field = RUN_COUNT; field < WORDS; field++) this.#words[at + field] = 0;
  }

  mm(unit: number): number {
    return this.#words[unit * WORDS + MM]!;
  }

  start(unit: number): number {
    return readU64(this.#words, unit * WORDS + START);
  }

  pages(unit: number): number {
    return this.#words[unit * WORDS + PAGES]!;
  }

  /** The number of its first page, if the pages of all units are numbered consecutively. */
  first(unit: number): number {
    return this.#words[unit * WORDS + FIRST]!;
  }

  setRunCount(unit: number, count: number): void {
    this.#words[unit * WORDS + RUN_COUNT] = count;
  }

  runCount(unit: number): number {
    return this.#words[unit * WORDS + RUN_COUNT]!;
  }

  /** The records of VMAs [first, end) of the unit's mm lie in the unit's part of the image. */
  setVmas(unit: number, first: number, end: number): void {
    this.#words[unit * WORDS + VMA_FIRST] = first;
    this.#words[unit * WORDS + VMA_END] = end;
  }

  firstVma(unit: number): number {
    return this.#words[unit * WORDS + VMA_FIRST]!;
  }

  endVma(unit: number): number {
    return this.#words[unit * WORDS + VMA_END]!;
  }

  /** Bytes [at, at + bytes) of the lead table come before what the unit itself holds. */
  setLead(unit: number, at: number, bytes: number): void {
    this.#words[unit * WORDS + LEAD_AT] = at;
    this.#words[unit * WORDS + LEAD_BYTES] = bytes;
  }

  leadAt(unit: number): number {
    return this.#words[unit * WORDS + LEAD_AT]!;
  }

  leadBytes(unit: number): number {
    return this.#words[unit * WORDS + LEAD_BYTES]!;
  }

  /** Bytes [at, at + bytes) of the lead table come after what the unit itself holds. */
  setTrail(unit: number, at: number, bytes: number): void {
    this.#words[unit * WORDS + TRAIL_AT] = at;
    this.#words[unit * WORDS + TRAIL_BYTES] = bytes;
  }

  trailAt(unit: number): number {
    return this.#words[unit * WORDS + TRAIL_AT]!;
  }

  trailBytes(unit: number): number {
    return this.#words[unit * WORDS + TRAIL_BYTES]!;
  }

  setSegments(unit: number, segments: number): void {
    this.#words[unit * WORDS + SEGMENTS] = segments;
  }

  segments(unit: number): number {
    return this.#words[unit * WORDS + SEGMENTS]!;
  }

  setFirstSegment(unit: number, segment: number): void {
    this.#words[unit * WORDS + SEGMENT] = segment;
  }

  firstSegment(unit: number): number {
    return this.#words[unit * WORDS + SEGMENT]!;
  }
}
