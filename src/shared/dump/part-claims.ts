/**
 * Who writes which unit of an image in parts. Units ascend in the image, so that workers who took them in
 * order would all write to one file at a time, and queue for its lock. Here every worker has parts
 * of its own, and helps with the others' when those are done.
 *
 * A unit belongs to the part in which it begins. A word for each part, 64 bytes apart, counts the
 * units that are taken; whoever has claimed one of the phase finds one that is left.
 */
import { assert } from '../assert.ts';

export const PART_CLAIM = {
  TAKEN: 0, // units of this part that were asked for, some in vain; Atomics only
  WORDS: 16,
} as const;

const { TAKEN, WORDS } = PART_CLAIM;

export function partClaimsBytes(parts: number): number {
  return parts * WORDS * 4;
}

export class PartClaims {
  readonly #words: Int32Array;
  readonly #parts: number;
  /** See firstOfParts. */
  readonly #first: readonly number[];
  readonly #home: number;
  readonly #homes: number;
  /** How many homes this worker is beyond its own, and the part there: those before have none left. */
  #moves = 0;
  #part: number;

  /** What worker number `worker` of `workers` sees. `buffer` is zeros before the phase. */
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

  /** The next unit for this worker. Asked for once for every unit that anybody has claimed. */
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

/** First unit of each part, and one word more: where the last part ends. */
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
