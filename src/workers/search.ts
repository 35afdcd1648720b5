/** The search phase: looks for bytes or an expression in the pages of an image or of mms. */

import { assert } from '../shared/assert.ts';
import {
  SEARCH_UNIT,
  type SearchReport,
  type SearchTask,
} from '../shared/dump/tasks/search-task.ts';
import { type Outcome, toFailure } from '../shared/errors.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { ExpressionSearch } from './search/expression.ts';
import { ImageBytes } from './search/image-bytes.ts';
import { SpaceBytes } from './search/space-bytes.ts';
import type { Spans, UnitBytes } from './search/unit-bytes.ts';
import { runUnits } from './task/run-units.ts';

const { STARTS, MM, ADDRESS, WORDS } = SEARCH_UNIT;

/** Searches the units that this worker claims. They ascend by mm and address. */
export function search(task: SearchTask): Outcome<SearchReport> {
  const matches = new Matches(task);
  let bytes: UnitBytes | undefined;
  try {
    bytes = bytesOf(task);
    const outcome = runSearch(task, bytes, matches);
    if (!outcome.ok) return outcome;
    return { ok: true, value: { ...outcome.value, ...matches.report } };
  } catch (error) {
    return { ok: false, failure: toFailure(error) }; // nothing was searched yet
  } finally {
    bytes?.close();
  }
}

function bytesOf({ image, spaces, unitBytes }: SearchTask): UnitBytes {
  if (image !== undefined) return new ImageBytes(image, unitBytes);
  assert(spaces !== undefined, 'a search has an image or spaces');
  return new SpaceBytes(spaces, unitBytes);
}

function runSearch(
  task: SearchTask,
  bytes: UnitBytes,
  matches: Matches,
): ReturnType<typeof runUnits> {
  const { pattern, unitCount } = task;
  const units = new Float64Array(task.units);
  const doneOf = (unit: number): { pages: number; bytes: number } => {
    const starts = units[unit * WORDS + STARTS]!;
    return { pages: starts / PAGE_SIZE, bytes: starts };
  };
  if (pattern.kind === 'bytes') {
    const wanted = Buffer.from(pattern.bytes);
    return runUnits(task, unitCount, (unit) => {
      searchBytes(bytes, units, unit, wanted, matches);
      return doneOf(unit);
    });
  }
  const { expression, step, units: listed } = pattern;
  const states = new Float64Array(pattern.states);
  const finder = new ExpressionSearch(expression, bytes, units, states);
  if (step === 'settle') {
    return runUnits(task, 1, (_, phase) => {
      finder.settle(unitCount, () => phase.isStopped);
      return { pages: 0, bytes: 0 };
    });
  }
  if (step === 'count') {
    return runUnits(task, unitCount, (unit) => {
      finder.count(unit);
      return doneOf(unit);
    });
  }
  return runUnits(task, listed.length, (index) => {
    const unit = listed[index]!;
    finder.list(unit, (from, length) => matches.add(unit, from, length));
    return doneOf(unit);
  });
}

/** Finds every place of the bytes in a unit, also where two overlap. */
function searchBytes(
  unit: UnitBytes,
  units: Float64Array,
  index: number,
  wanted: Buffer,
  matches: Matches,
): void {
  unit.load(units, index * WORDS);
  const starts = units[index * WORDS + STARTS]!;
  const { buffer, known, stored } = unit;
  const { length } = wanted;
  const isZeros = wanted.every((byte) => byte === 0);
  for (let span = 0; span < known.count; span++) {
    const end = known.to(span) - length;
    let found = buffer.indexOf(wanted, known.from(span));
    while (found >= 0 && found <= end && found < starts) {
      // Zeros alone can lie beside what is stored, in a unit of an mm.
      if (!isZeros || touches(stored, found, length)) matches.add(index, found, length);
      found = buffer.indexOf(wanted, found + 1);
    }
  }
}

/** Whether one of `length` bytes from `from` on is stored. */
function touches(stored: Spans, from: number, length: number): boolean {
  const first = stored.firstFrom(from);
  return first >= 0 && first < from + length;
}

/** The matches of this worker: their number, and the first ones. */
class Matches {
  readonly #units: Float64Array;
  readonly #most: number;
  readonly #listed: number[] = [];
  #count = 0;

  constructor({ units, most }: SearchTask) {
    this.#units = new Float64Array(units);
    this.#most = most;
  }

  /** Adds a match that begins at byte `from` of a unit. */
  add(unit: number, from: number, length: number): void {
    this.#count++;
    if (this.#listed.length >= this.#most * 3) return;
    const at = unit * WORDS;
    this.#listed.push(this.#units[at + MM]!, this.#units[at + ADDRESS]! + from, length);
  }

  get report(): { readonly matches: Float64Array; readonly count: number } {
    return { matches: Float64Array.from(this.#listed), count: this.#count };
  }
}
