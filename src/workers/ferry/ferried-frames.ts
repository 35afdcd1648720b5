/**
 * Frames in memory that is not shared, as a restore writes them: the bytes are read and digested in
 * a berth, and carried to their frames while the other berth is filled.
 */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { FERRY_LOAD, type FerryReach } from '../../shared/dump/ferry.ts';
import { Passage } from './passage.ts';

/** Writes frames. Every worker has one object of its own. */
export class FerriedFrames {
  readonly #passage: Passage;
  #berth = 0;

  /** Precondition: some memory of the machine is not shared. */
  constructor(machine: MachineParts, reach: FerryReach) {
    this.#passage = new Passage(machine, reach, reach.pages);
  }

  /** The number of the first page of a berth that is free. The next `store` is about it. */
  room(): number {
    this.#berth = 1 - this.#berth;
    this.#passage.await(this.#berth);
    return this.#passage.base + this.#berth * this.#passage.pages;
  }

  /** Sends the first `pages` pages of the berth to the frames from `pfn` on, and does not wait. */
  store(pfn: number, pages: number): void {
    this.#send(FERRY_LOAD.STORE, pfn, pages);
  }

  /** Fills `pages` frames from `pfn` on with zeros, and does not wait. */
  zero(pfn: number, pages: number): void {
    this.#berth = 1 - this.#berth;
    this.#send(FERRY_LOAD.ZERO, pfn, pages);
  }

  /** Waits until everything has arrived. */
  finish(): void {
    this.#passage.await(0);
    this.#passage.await(1);
  }

  #send(kind: number, pfn: number, pages: number): void {
    this.#passage.begin(this.#berth, kind);
    this.#passage.add(this.#berth, pfn, 0, pages);
    this.#passage.ask(this.#berth);
  }
}
