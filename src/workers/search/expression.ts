/**
 * Finds the matches of an expression in units, as RegExp.exec finds them one behind the other in the
 * whole stretch, whose bytes are its characters (latin1). So where the search of a unit begins
 * depends on the last match of the unit before, which is why it takes steps (SearchPattern).
 *
 * A match has at most `most` bytes. The expression has no assertions, so whether it matches some
 * bytes depends on these bytes alone. Where it takes more bytes than `most`, what it would take of
 * the first `most` bytes is asked for. So the answer does not depend on how much the buffer holds
 * behind them.
 */
import {
  SEARCH_STATE,
  SEARCH_UNIT,
  type SearchExpression,
} from '../../shared/dump/tasks/search-task.ts';
import type { UnitBytes } from './unit-bytes.ts';

const { SKIPPED, COUNT, REACH, WORDS } = SEARCH_STATE;
const { STARTS, CONTINUES, WORDS: UNIT_WORDS } = SEARCH_UNIT;

/** Gets each match: the byte of the unit at which it begins, and its length. */
export type Found = (from: number, length: number) => void;

export class ExpressionSearch {
  readonly #bytes: UnitBytes;
  readonly #units: Float64Array;
  readonly #states: Float64Array;
  readonly #next: RegExp;
  readonly #here: RegExp;
  readonly #most: number;

  constructor(
    { source, flags, most }: SearchExpression,
    bytes: UnitBytes,
    units: Float64Array,
    states: Float64Array,
  ) {
    this.#bytes = bytes;
    this.#units = units;
    this.#states = states;
    this.#next = new RegExp(source, `${flags}g`);
    this.#here = new RegExp(source, `${flags}y`);
    this.#most = most;
  }

  /** Searches a unit behind the bytes that are skipped, and notes its matches and its reach. */
  count(unit: number): void {
    let count = 0;
    const reach = this.#search(unit, () => {
      count++;
    });
    const at = unit * WORDS;
    this.#states[at + COUNT] = count;
    this.#states[at + REACH] = reach;
  }

  /**
   * Corrects all units, in order: a unit skips the bytes that the last match of the unit before it
   * covers. `isStopped` is asked before each unit that is searched once more.
   */
  settle(unitCount: number, isStopped: () => boolean): void {
    const states = this.#states;
    for (let unit = 1; unit < unitCount; unit++) {
      if (this.#units[unit * UNIT_WORDS + CONTINUES] === 0) continue;
      const at = unit * WORDS;
      const covered = states[at - WORDS + REACH]!;
      if (covered === states[at + SKIPPED]) continue;
      if (isStopped()) return;
      states[at + SKIPPED] = covered;
      this.count(unit);
    }
  }

  /** Hands out the matches of a unit. */
  list(unit: number, found: Found): void {
    this.#search(unit, found);
  }

  /** Searches a unit. Returns how many bytes behind its last address the last match covers. */
  #search(unit: number, found: Found): number {
    const starts = this.#units[unit * UNIT_WORDS + STARTS]!;
    let at = this.#states[unit * WORDS + SKIPPED]!;
    if (at >= starts) return at - starts;
    this.#bytes.load(this.#units, unit * UNIT_WORDS);
    const { known, buffer } = this.#bytes;
    for (let span = 0; span < known.count && known.from(span) < starts; span++) {
      const from = known.from(span);
      if (known.to(span) <= at) continue;
      const text = buffer.toString('latin1', from, known.to(span));
      at = this.#searchText(text, from, Math.max(at, from), starts, found);
    }
    return Math.max(0, at - starts);
  }

  /**
   * Searches the known bytes from byte `base` of the unit on, from byte `at` of the unit on, for
   * matches that begin before byte `starts`. Returns the byte after the last match, or `at`.
   */
  #searchText(text: string, base: number, at: number, starts: number, found: Found): number {
    const { stored } = this.#bytes;
    let end = at;
    for (let from = stored.firstFrom(at); from >= 0 && from < starts; ) {
      this.#next.lastIndex = from - base;
      const match = this.#next.exec(text);
      if (match === null) break;
      const start = match.index + base;
      if (start >= starts) break;
      const isStored = stored.firstFrom(start) === start;
      const length = isStored ? this.#lengthOf(match, text) : 0;
      if (length > 0) {
        found(start, length);
        end = start + length;
        from = stored.firstFrom(end);
      } else {
        from = stored.firstFrom(start + 1);
      }
    }
    return end;
  }

  /** The length of a match, cut as the head of this file says; 0 if nothing is left. */
  #lengthOf({ index, 0: bytes }: RegExpExecArray, text: string): number {
    if (bytes.length <= this.#most) return bytes.length;
    this.#here.lastIndex = 0;
    return this.#here.exec(text.slice(index, index + this.#most))?.[0].length ?? 0;
  }
}
