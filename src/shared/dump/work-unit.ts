/**
 * Work units of the classify phase: whole granules of one mm, neighbours in address. The plan
 * writes all but the last word, the worker that claims the unit that one.
 */
import { readU64, writeU64 } from '../u64.ts';

export const WORK_UNIT = {
  MM: 0, //        ordinal of the mm in the dump
  START: 1, //     first page, u64
  PAGES: 3, //     pages of address that it spans
  FIRST: 4, //     pages of all units before it: its place in every table of pages and runs
  RUN_COUNT: 5, // records in the run table, from record FIRST on
  WORDS: 16, //    64 bytes: two workers never write one line
} as const;

const { MM, START, PAGES, FIRST, RUN_COUNT, WORDS } = WORK_UNIT;

export function workUnitBytes(units: number): number {
  return units * WORDS * 4;
}

export class WorkUnits {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /** `first`: pages of all units before this one. */
  set(unit: number, mm: number, start: number, pages: number, first: number): void {
    const at = unit * WORDS;
    this.#words[at + MM] = mm;
    writeU64(this.#words, at + START, start);
    this.#words[at + PAGES] = pages;
    this.#words[at + FIRST] = first;
    this.#words[at + RUN_COUNT] = 0;
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

  /** The number of its first page, when the pages of all units are counted through. */
  first(unit: number): number {
    return this.#words[unit * WORDS + FIRST]!;
  }

  setRunCount(unit: number, count: number): void {
    this.#words[unit * WORDS + RUN_COUNT] = count;
  }

  runCount(unit: number): number {
    return this.#words[unit * WORDS + RUN_COUNT]!;
  }
}
