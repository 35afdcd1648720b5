/**
 * The offsets at which units begin in the image. The workers compute them while they work, by
 * decoupled look-back (Merrill and Garland, "Single-pass Parallel Prefix Scan with Decoupled
 * Look-back", 2016).
 *
 * A worker classifies its unit and publishes the size of the unit. Then it walks back over the
 * earlier units and adds their sizes, until it meets a unit whose end is known. The sum is the
 * offset at which its own unit begins. It publishes the end of its unit before it copies a byte.
 *
 *   UNKNOWN ──publishSize──▶ SIZED ──publishEnd──▶ PLACED
 *
 * Only the worker that claimed a unit takes these edges.
 *
 * Units are claimed in ascending order. So every earlier unit was claimed before this one, and its
 * worker waits for no other worker before it publishes the size. Therefore a worker waits for the
 * classification of earlier units at most, and for their compression if there is one, but never for
 * a copy. There is no deadlock, because some
 * worker is always working on the lowest unit without a size. A single worker never waits here.
 */

import { waitSync, wakeAll } from '../sync/wait.ts';
import { readU64, writeU64 } from '../u64.ts';

/** The words of the table. */
export const LOOK_BACK = {
  CHANGES: 0, // counts published sizes and calls of `wake`; Atomics only, workers wait on it
  UNITS: 16, //  one UNIT_PLACE record per unit
} as const;

/** The words of a unit. Written only by the worker that claimed it; the other workers read them. */
export const UNIT_PLACE = {
  STATE: 0, // see the drawing above; Atomics only, publishes the fields below
  SIZE: 1, //  bytes of the unit in the image, below 2^31; immutable once SIZED
  END: 2, //   offset in the image at which the unit ends, u64; immutable once PLACED
  WORDS: 4,
} as const;

const { CHANGES, UNITS } = LOOK_BACK;
const { STATE, SIZE, END, WORDS } = UNIT_PLACE;

const UNKNOWN = 0;
const SIZED = 1;
const PLACED = 2;

/** Looks at an unknown size before a worker sleeps. A unit is classified in microseconds. */
const SPINS = 200;

/** Bytes of a table of `units` units. */
export function lookBackBytes(units: number): number {
  return (UNITS + units * WORDS) * 4;
}

/** The stop word of a phase. A worker that waits gives up when it is set. */
export interface StopWord {
  readonly isStopped: boolean;
}

/** The table as one thread sees it. */
export class LookBack {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Coordinator: resets the table for `units` units. Precondition: no worker uses it yet. */
  clear(units: number): void {
    this.#words.fill(0, 0, UNITS + units * WORDS);
  }

  /** Worker: publishes that its unit takes `bytes` bytes of the image. */
  publishSize(unit: number, bytes: number): void {
    const at = UNITS + unit * WORDS;
    this.#words[at + SIZE] = bytes;
    Atomics.store(this.#words, at + STATE, SIZED);
    wakeAll(this.#words, CHANGES);
  }

  /**
   * Worker: returns the offset at which its unit begins, if unit 0 begins at `first`. Waits for the
   * sizes of earlier units. Returns -1 if the phase was stopped before all of them were known.
   */
  startOf(unit: number, first: number, stop: StopWord): number {
    let bytes = 0;
    for (let before = unit - 1; before >= 0; before--) {
      const state = this.#awaitSize(before, stop);
      if (state === UNKNOWN) return -1;
      const at = UNITS + before * WORDS;
      if (state === PLACED) return readU64(this.#words, at + END) + bytes;
      bytes += this.#words[at + SIZE]!;
    }
    return first + bytes;
  }

  /** Coordinator: the bytes of a unit. Precondition: every unit is sized. */
  sizeOf(unit: number): number {
    return this.#words[UNITS + unit * WORDS + SIZE]!;
  }

  /** Worker: publishes the end of its unit. No worker waits for it, but it shortens later walks. */
  publishEnd(unit: number, end: number): void {
    const at = UNITS + unit * WORDS;
    writeU64(this.#words, at + END, end);
    Atomics.store(this.#words, at + STATE, PLACED);
  }

  /** The offset at which a unit ends. Precondition: the unit is placed. */
  endOf(unit: number): number {
    return readU64(this.#words, UNITS + unit * WORDS + END);
  }

  /** Makes the workers that wait look at the stop word now. */
  wake(): void {
    wakeAll(this.#words, CHANGES);
  }

  /** Waits for the size of a unit, and returns its state. UNKNOWN only if the phase was stopped. */
  #awaitSize(unit: number, stop: StopWord): number {
    const at = UNITS + unit * WORDS + STATE;
    for (let spin = 0; spin < SPINS; spin++) {
      const state = Atomics.load(this.#words, at);
      if (state !== UNKNOWN) return state;
    }
    for (;;) {
      const seen = Atomics.load(this.#words, CHANGES); // first, so that no later change is missed
      const state = Atomics.load(this.#words, at);
      if (state !== UNKNOWN || stop.isStopped) return state;
      waitSync(this.#words, CHANGES, seen);
    }
  }
}
