/**
 * Work units of the classify phase: whole granules of one mm, neighbours in address. The plan
 * writes the first five words, the worker that claims the unit the rest.
 */
import { readU64, writeU64 } from '../u64.ts';

export const WORK_UNIT = {
  MM: 0, //        ordinal of the mm in the dump
  START: 1, //     first page, u64
  PAGES: 3, //     pages of address that it spans
  RUN_AT: 4, //    first record in the run table
  RUN_COUNT: 5, // records
  WORDS: 16, //    64 bytes: two workers never write one line
} as const;

const { MM, START, PAGES, RUN_AT, RUN_COUNT, WORDS } = WORK_UNIT;

export function workUnitBytes(units: number): number {
  return units * WORDS * 4;
}

export class WorkUnits {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  set(unit: number, mm: number, start: number, pages: number): void {
    const at = unit * WORDS;
    this.#words[at + MM] = mm;
    writeU64(this.#words, at + START, start);
    this.#words[at + PAGES] = pages;
    this.#words[at + RUN_AT] = 0;
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

  setRuns(unit: number, first: number, count: number): void {
    this.#words[unit * WORDS + RUN_AT] = first;
    this.#words[unit * WORDS + RUN_COUNT] = count;
  }

  runAt(unit: number): number {
    return this.#words[unit * WORDS + RUN_AT]!;
  }

  runCount(unit: number): number {
    return this.#words[unit * WORDS + RUN_COUNT]!;
  }
}
