/**
 * Gathers pages into runs. The pages of a run are neighbours with equal class words inside one
 * part, which is the share of one VMA in one granule. The frames of COPY pages go into a separate
 * list, in order.
 */
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { RUN } from '../../shared/dump/run-table.ts';

const { OFFSET, COUNT, CLASS, SOURCE, WORDS } = RUN;
const { COPY } = PAGE_CLASS;
/** Class word of an absent page: it ends a run and starts none. */
export const NOTHING = 0;

/** Writes the runs of one unit after the other. */
export class RunWriter {
  /** The run table (RUN records). OFFSET counts from the start of the unit. */
  readonly runs: Int32Array;
  /** The frames of COPY pages. */
  readonly sources: Int32Array;
  /** Index of the record after the unit's last run. */
  runEnd = 0;
  /** Index in `sources` after the unit's last frame. */
  sourceEnd = 0;
  #unitStart = 0;
  #word = NOTHING;
  #from = 0;
  #source = 0;

  constructor(runs: Int32Array, sources: Int32Array) {
    this.runs = runs;
    this.sources = sources;
  }

  /** Begins a unit. Its part of both tables starts at `first`, with a place for every page. */
  begin(unitStart: number, first: number): void {
    this.#unitStart = unitStart;
    this.runEnd = first;
    this.sourceEnd = first;
  }

  /** Takes over the `runs` records that an earlier pass has written for the unit. */
  resume(runs: number): void {
    this.runEnd += runs;
  }

  /** Adds the next page of the part. `pfn` matters only for COPY. */
  page(vpn: number, word: number, pfn: number): void {
    if (word !== this.#word) this.#start(vpn, word);
    if ((word & 0xff) === COPY) this.sources[this.sourceEnd++] = pfn;
  }

  /** Adds the next `count` pages, which are all COPY. Their frames are in `sources` already. */
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
