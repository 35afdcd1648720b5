/**
 * Sets, on the calling thread, the entries of a restore that need no frame: pages that stay in the
 * image, zero pages and guard pages. That takes less time than to start a worker.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { mapBacked } from '../../mmu/backing/map-backed.ts';
import { mapGuards, mapZeroPages } from '../../mmu/fault/map-marks.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { runOnAsync } from '../../mmu/machine/enter.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { LOAD, type LoadRun, readLoadRun } from '../../shared/dump/load-table.ts';
import { granuleEnd } from '../../shared/page.ts';

/** Milliseconds for which locks are held at a time. */
const STRETCH_MS = 5;
/** Runs between two looks at the clock. */
const STEPS = 32;

/** The runs of a LoadList; BACKED ones name their places in the backing. */
export class EntryMapper {
  readonly #words: Int32Array;
  readonly #count: number;
  readonly #backing: number;
  #index = 0;
  /** Pages of the run at hand that are done. */
  #done = 0;

  constructor(words: Int32Array, count: number, backing: number) {
    this.#words = words;
    this.#count = count;
    this.#backing = backing;
  }

  /** Sets the entries of all runs. `spaces` has the address spaces by ordinal. AbortError. */
  async run(spaces: readonly AddressSpace[], signal: AbortSignal | undefined): Promise<void> {
    while (this.#index < this.#count) {
      const { mm } = readLoadRun(this.#words, this.#index);
      await runOnAsync(spaces[mm]!.reference, 'read', (held) => this.#some(held, mm), signal);
      if (this.#index < this.#count) await nextTurn();
    }
  }

  /** Does runs of one mm for a while. It goes on where it stopped if it is called again. */
  #some(mm: Mm, ordinal: number): void {
    const end = performance.now() + STRETCH_MS;
    for (let step = 1; this.#index < this.#count; step++) {
      const run = readLoadRun(this.#words, this.#index);
      if (run.mm !== ordinal) return;
      this.#one(mm, run);
      if (step % STEPS === 0 && performance.now() >= end) return;
    }
  }

  #one(mm: Mm, { kind, start, pages, source }: LoadRun): void {
    while (this.#done < pages) {
      const vpn = start + this.#done;
      const count = Math.min(pages - this.#done, granuleEnd(vpn) - vpn);
      if (kind === LOAD.BACKED) mapBacked(mm, vpn, count, this.#backing, source + this.#done);
      else if (kind === LOAD.GUARD) mapGuards(mm, vpn, count);
      else mapZeroPages(mm, vpn, count);
      this.#done += count;
    }
    this.#done = 0;
    this.#index++;
  }
}
