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
  /** RUN records; OFFSET counts from the unit's start, SOURCE from its first source. */
  readonly runs: Int32Array;
  runCount = 0;
  readonly sources: Int32Array;
  sourceCount = 0;
  #unitStart = 0;
  #word = NOTHING;
  #from = 0;
  #source = 0;

  /** For units of at most `pages` pages. Used for one after the other: fresh arrays cost more. */
  constructor(pages: number) {
    this.runs = new Int32Array(pages * WORDS);
    this.sources = new Int32Array(pages);
  }

  /** Begins a unit. What the last one left is gone. */
  begin(unitStart: number): void {
    this.#unitStart = unitStart;
    this.runCount = 0;
    this.sourceCount = 0;
  }

  /** The next page of the part. `pfn` matters only for COPY. */
  page(vpn: number, word: number, pfn: number): void {
    if (word !== this.#word) this.#start(vpn, word);
    if ((word & 0xff) === COPY) this.sources[this.sourceCount++] = pfn;
  }

  /** Ends the part before page `vpn`. */
  end(vpn: number): void {
    this.#start(vpn, NOTHING);
  }

  #start(vpn: number, word: number): void {
    if (this.#word !== NOTHING) {
      const at = this.runCount++ * WORDS;
      this.runs[at + OFFSET] = this.#from - this.#unitStart;
      this.runs[at + COUNT] = vpn - this.#from;
      this.runs[at + CLASS] = this.#word;
      this.runs[at + SOURCE] = this.#source;
    }
    this.#word = word;
    this.#from = vpn;
    this.#source = this.sourceCount;
  }
}
