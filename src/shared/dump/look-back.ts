/**
 * Where each unit's bytes begin in the image, found by the workers themselves while they work:
 * decoupled look-back (Merrill and Garland, "Single-pass Parallel Prefix Scan with Decoupled
 * Look-back", 2016).
 *
 * A worker classifies its unit and publishes the unit's size. It then walks back over the units
 * before its own and adds their sizes, until it meets one whose end is known. That sum is where its
 * own unit begins, and it publishes where the unit ends before it copies a byte.
 *
 *   UNKNOWN ──publishSize──▶ SIZED ──publishEnd──▶ PLACED      only by the worker that claimed the unit
 *
 * Units are claimed in ascending order. A unit before this one was therefore claimed before this one,
 * and its worker waits for nobody before it publishes the size. So a worker waits for the
 * classification of earlier units at most, never for a copy, and the lowest unit that has no size is
 * always being worked on: nobody waits in a circle. A single worker never waits at all.
 */

import { waitSync, wakeAll } from '../sync/wait.ts';
import { readU64, writeU64 } from '../u64.ts';

export const LOOK_BACK = {
  CHANGES: 0, // counts published sizes and calls of `wake`; Atomics only, workers wait on it
  UNITS: 16, //  one UNIT_PLACE record per unit
} as const;

/** Written only by the worker that claimed the unit; the other workers read it. */
export const UNIT_PLACE = {
  STATE: 0, // see the drawing above; Atomics only, publishes the fields below
  SIZE: 1, //  bytes of the unit in the image, below 2^31; immutable once SIZED
  END: 2, //   offset of the image at which the unit ends, u64; immutable once PLACED
  WORDS: 4,
} as const;

const { CHANGES, UNITS } = LOOK_BACK;
const { STATE, SIZE, END, WORDS } = UNIT_PLACE;

const UNKNOWN = 0;
const SIZED = 1;
const PLACED = 2;

/** Looks at an unknown size before the worker sleeps: classification of a unit takes microseconds. */
const SPINS = 200;

export function lookBackBytes(units: number): number {
  return (UNITS + units * WORDS) * 4;
}

/** Whether the worker is to give up: the stop word of a phase. */
export interface StopWord {
  readonly isStopped: boolean;
}

export class LookBack {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Coordinator: forgets an earlier job. No worker may use the table yet. */
  clear(units: number): void {
    this.#words.fill(0, 0, UNITS + units * WORDS);
  }

  /** Worker: the unit that it claimed takes this many bytes of the image. */
  publishSize(unit: number, bytes: number): void {
    const at = UNITS + unit * WORDS;
    this.#words[at + SIZE] = bytes;
    Atomics.store(this.#words, at + STATE, SIZED);
    wakeAll(this.#words, CHANGES);
  }

  /**
   * Worker: the offset at which its unit begins, where unit 0 begins at `first`. Waits for sizes of
   * earlier units. Returns -1 when the phase was stopped before all of them were known.
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

  /** Coordinator, once every unit is sized: bytes of the unit. */
  sizeOf(unit: number): number {
    return this.#words[UNITS + unit * WORDS + SIZE]!;
  }

  /** Worker: its unit ends here. Nobody waits for it; it saves later workers a longer walk. */
  publishEnd(unit: number, end: number): void {
    const at = UNITS + unit * WORDS;
    writeU64(this.#words, at + END, end);
    Atomics.store(this.#words, at + STATE, PLACED);
  }

  /** Coordinator, once every unit is placed: the offset at which the unit ends. */
  endOf(unit: number): number {
    return readU64(this.#words, UNITS + unit * WORDS + END);
  }

  /** Makes the workers that wait look at the stop word now. */
  wake(): void {
    wakeAll(this.#words, CHANGES);
  }

  /** The unit's state, which is UNKNOWN only if the phase was stopped. */
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
