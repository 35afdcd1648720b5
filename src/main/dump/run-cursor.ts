/** Walks the runs of one mm in order of address, over the units that its classification filled. */
import { classOf, RUN, ruleOf } from '../../shared/dump/run-table.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;

export class RunCursor {
  readonly #units: WorkUnits;
  readonly #runs: Int32Array;
  readonly #lastUnit: number;
  #unit: number;
  #run = 0;
  #unitStart = 0;
  #left = 0;
  /** First page of the current run; Infinity behind the last one. */
  start: number = Number.POSITIVE_INFINITY;
  count = 0;
  pageClass = 0;
  /** Why, for UNSUPPORTED runs. */
  rule = 0;
  /** FILE_PAGES_BIT and the like. */
  word = 0;
  source = 0;

  /** Over units [firstUnit, lastUnit). */
  constructor(units: WorkUnits, runs: Int32Array, firstUnit: number, lastUnit: number) {
    this.#units = units;
    this.#runs = runs;
    this.#unit = firstUnit - 1;
    this.#lastUnit = lastUnit;
    this.next();
  }

  next(): void {
    while (this.#left === 0) {
      this.#unit++;
      if (this.#unit >= this.#lastUnit) {
        this.start = Number.POSITIVE_INFINITY;
        return;
      }
      this.#unitStart = this.#units.start(this.#unit);
      this.#run = this.#units.first(this.#unit);
      this.#left = this.#units.runCount(this.#unit);
    }
    const at = this.#run * WORDS;
    const word = this.#runs[at + CLASS]!;
    this.start = this.#unitStart + this.#runs[at + OFFSET]!;
    this.count = this.#runs[at + COUNT]!;
    this.word = word;
    this.pageClass = classOf(word);
    this.rule = ruleOf(word);
    this.source = this.#runs[at + SOURCE]!;
    this.#run++;
    this.#left--;
  }
}
