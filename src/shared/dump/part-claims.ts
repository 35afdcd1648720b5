/**
 * Which worker writes which unit of an image in parts. Units ascend in the image. If the workers
 * took them in order, all would write to one file at a time, and queue for its lock. So every
 * worker starts with parts of its own, and steals units from the parts of other workers when its
 * own are finished.
 *
 * A unit belongs to the part in which it begins. Each part has a word that counts the units that
 * were taken from it; these words are 64 bytes apart. A worker takes one unit from here per unit
 * that it has claimed in the phase, so there is always one left for it.
 */
import { assert } from '../assert.ts';

/** The words of a part. */
export const PART_CLAIM = {
  TAKEN: 0, // attempts to take a unit of this part, successful or not; Atomics only
  WORDS: 16,
} as const;

const { TAKEN, WORDS } = PART_CLAIM;

/** Bytes of the words of `parts` parts. */
export function partClaimsBytes(parts: number): number {
  return parts * WORDS * 4;
}

/** The units that remain, as one worker sees them. */
export class PartClaims {
  readonly #words: Int32Array;
  readonly #parts: number;
  /** See firstOfParts. */
  readonly #first: readonly number[];
  /** This worker's own parts are #home, #home + #homes, #home + 2 × #homes, and so on. */
  readonly #home: number;
  /** The number of sets of parts. If there are fewer parts than workers, workers share sets. */
  readonly #homes: number;
  /** Distance of the victim from this worker, and its next part. All nearer victims are empty. */
  #moves = 0;
  #part: number;

  /** The view of worker number `worker` of `workers`. `buffer` is all zeros before the phase. */
  constructor(
    buffer: SharedArrayBuffer,
    firstUnits: readonly number[],
    { worker, workers }: { readonly worker: number; readonly workers: number },
  ) {
    this.#words = new Int32Array(buffer);
    this.#parts = this.#words.length / WORDS;
    this.#first = firstUnits;
    this.#homes = Math.min(workers, this.#parts);
    this.#home = worker % this.#homes;
    this.#part = this.#home;
  }

  /**
   * Takes the next unit for this worker. Precondition: the worker has claimed a unit of the phase
   * since its last call.
   */
  take(): number {
    for (; this.#moves < this.#homes; this.#part = (this.#home + ++this.#moves) % this.#homes) {
      for (; this.#part < this.#parts; this.#part += this.#homes) {
        const first = this.#first[this.#part]!;
        const count = this.#first[this.#part + 1]! - first;
        const taken = Atomics.add(this.#words, this.#part * WORDS + TAKEN, 1);
        if (taken < count) return first + taken;
      }
    }
    assert(false, 'there are as many units as claims');
  }
}

/** The first unit of each part, and one more number: the unit after the last part. */
export function firstOfParts(
  { count, offset }: { readonly count: number; readonly offset: (unit: number) => number },
  partBytes: number,
  parts: number,
): number[] {
  const first = [0];
  let unit = 0;
  for (let part = 1; part < parts; part++) {
    while (unit < count && offset(unit) < part * partBytes) unit++;
    first.push(unit);
  }
  return [...first, count];
}
