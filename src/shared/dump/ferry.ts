/**
 * How pages of memory that is not shared cross between the thread that owns the memory and a worker.
 * The worker asks, and the owner carries: it copies between the memory and a buffer that both see.
 * Every worker has one buffer and two berths in it, so that the owner can carry one load while the
 * worker is busy with the other:
 *
 *   buffer   │ pages of berth 0 │ pages of berth 1 │
 *
 *   FREE ──worker: ask──▶ ASKED ──owner: carried──▶ DONE ──worker: await──▶ FREE
 *                           └──owner: it failed──▶ FAILED
 *
 * A load is a list of runs, which are neighbours in the memory and in the buffer. The worker writes
 * it before it stores ASKED, and the owner reads it afterwards.
 */

import { waitSync, wakeAll } from '../sync/wait.ts';
import type { WasmMemory } from '../wasm.ts';

/** The words of a berth. The runs follow: see FERRY_RUN. */
export const BERTH = {
  STATE: 0, // FREE, ASKED, DONE or FAILED; Atomics only
  KIND: 1, //  FERRY_LOAD; written by the worker while the berth is FREE
  COUNT: 2, // runs of the load; written by the worker while the berth is FREE
  RUNS: 16, // FERRY_RUN records, one for each page of the berth at most
} as const;

/** The words of a run of a load. */
export const FERRY_RUN = {
  PFN: 0, //   number of its first frame
  PAGE: 1, //  its first page in the buffer
  PAGES: 2, // frames, all in one bank
  WORDS: 3,
} as const;

/** Values of KIND: what the owner does with the frames of the runs. */
export const FERRY_LOAD = {
  FETCH: 0, // copy them to the buffer
  STORE: 1, // copy the buffer to them
  ZERO: 2, //  fill them with zeros
} as const;

/** Berths of a worker. */
export const BERTHS = 2;

const { STATE, KIND, COUNT, RUNS } = BERTH;
const { PFN, PAGE, PAGES, WORDS } = FERRY_RUN;
const FREE = 0;
const ASKED = 1;
const DONE = 2;
const FAILED = 3;

/** What a worker is given of a ferry. */
export interface FerryReach {
  /** The words of the two berths. */
  readonly berths: SharedArrayBuffer;
  /** One word, which the owner waits on: it counts what workers have asked for. Atomics only. */
  readonly bell: SharedArrayBuffer;
  /** The buffer. */
  readonly memory: WasmMemory;
  /** Pages of one berth. */
  readonly pages: number;
}

/** Words of one berth of `pages` pages. */
export function berthWords(pages: number): number {
  return Math.ceil((RUNS + pages * WORDS) / 16) * 16;
}

/** One berth, as the owner or its worker sees it. */
export class Berth {
  readonly #words: Int32Array;
  readonly #base: number;
  #count = 0;

  constructor(words: Int32Array, base: number) {
    this.#words = words;
    this.#base = base;
  }

  /** Worker: begins the list of a load. The berth is FREE. */
  begin(kind: number): void {
    this.#words[this.#base + KIND] = kind;
    this.#count = 0;
  }

  /** Worker: adds a run to the list. */
  add(pfn: number, page: number, pages: number): void {
    const at = this.#base + RUNS + this.#count++ * WORDS;
    this.#words[at + PFN] = pfn;
    this.#words[at + PAGE] = page;
    this.#words[at + PAGES] = pages;
  }

  /** Worker: number of runs in the list. */
  get count(): number {
    return this.#count;
  }

  /** Worker: asks the owner to carry the load. */
  ask(bell: Int32Array): void {
    this.#words[this.#base + COUNT] = this.#count;
    Atomics.store(this.#words, this.#base + STATE, ASKED);
    wakeAll(bell, 0);
  }

  /** Worker: waits until the load is carried. False if the owner could not. */
  await(): boolean {
    const at = this.#base + STATE;
    for (;;) {
      const state = Atomics.load(this.#words, at);
      if (state === FAILED) return false;
      if (state !== ASKED) break;
      waitSync(this.#words, at, ASKED);
    }
    Atomics.store(this.#words, at, FREE);
    return true;
  }

  /** Owner: whether there is a load to carry. */
  get isAsked(): boolean {
    return Atomics.load(this.#words, this.#base + STATE) === ASKED;
  }

  /** The kind of the load. */
  get kind(): number {
    return this.#words[this.#base + KIND]!;
  }

  /** Calls `carry` for each run of the load: its first frame, its page in the buffer, its pages. */
  each(carry: (pfn: number, page: number, pages: number) => void): void {
    const words = this.#words;
    const end = this.#base + RUNS + words[this.#base + COUNT]! * WORDS;
    for (let at = this.#base + RUNS; at < end; at += WORDS) {
      carry(words[at + PFN]!, words[at + PAGE]!, words[at + PAGES]!);
    }
  }

  /** Owner: the load is carried, or could not be. Wakes the worker. */
  done(isCarried: boolean): void {
    const at = this.#base + STATE;
    Atomics.store(this.#words, at, isCarried ? DONE : FAILED);
    Atomics.notify(this.#words, at);
  }
}

/** The two berths of a worker. */
export function berthsOf(berths: SharedArrayBuffer, pages: number): [Berth, Berth] {
  const words = new Int32Array(berths);
  return [new Berth(words, 0), new Berth(words, berthWords(pages))];
}
