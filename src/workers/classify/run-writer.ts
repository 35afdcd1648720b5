/**
 * Gathers pages into runs: neighbours with the same class word, inside one part (a VMA's share of
 * one granule). The frames of COPY pages go into a list of their own, in order.
 */
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { RUN } from '../../shared/dump/run-table.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;
const { COPY } = PAGE_CLASS;
/** Class word of an absent page: it ends a run and starts none. */
export const NOTHING = 0;

export class RunWriter {
  /** The table of runs; OFFSET counts from the unit's start. */
  readonly runs: Int32Array;
  /** The list of frames. */
  readonly sources: Int32Array;
  /** Behind the last run of the unit, in records. */
  runEnd = 0;
  /** Behind the last frame of the unit. */
  sourceEnd = 0;
  #unitStart = 0;
  #word = NOTHING;
  #from = 0;
  #source = 0;

  constructor(runs: Int32Array, sources: Int32Array) {
    this.runs = runs;
    this.sources = sources;
  }

  /** Begins a unit, whose part of both tables starts at `first`: it has a place for every page. */
  begin(unitStart: number, first: number): void {
    this.#unitStart = unitStart;
    this.runEnd = first;
    this.sourceEnd = first;
  }

  /** Takes up the unit as an earlier pass has left it: with `runs` records. */
  resume(runs: number): void {
    this.runEnd += runs;
  }

  /** The next page of the part. `pfn` matters only for COPY. */
  page(vpn: number, word: number, pfn: number): void {
    if (word !== this.#word) this.#start(vpn, word);
    if ((word & 0xff) === COPY) this.sources[this.sourceEnd++] = pfn;
  }

  /** The next `count` pages, all COPY; their frames stand in `sources` already. */
  copies(vpn: number, count: number): void {
    if (this.#word !== COPY) this.#start(vpn, COPY);
    this.sourceEnd += count;
  }

  /** Ends the part before page `vpn`. */
  end(vpn: number): void {
    this.#start(vpn, NOTHING);
  }

  #start(vpn: number, word: number): void {
    if (this.#word !== NOTHING) {
      const { runs } = this;
      const at = this.runEnd++ * WORDS;
      runs[at + OFFSET] = this.#from - this.#unitStart;
      runs[at + COUNT] = vpn - this.#from;
      runs[at + CLASS] = this.#word;
      runs[at + SOURCE] = this.#source;
    }
    this.#word = word;
    this.#from = vpn;
    this.#source = this.sourceEnd;
  }
}
