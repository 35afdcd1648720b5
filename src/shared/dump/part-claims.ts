/**
 * Who writes which segment of an image in parts. Segments ascend, so that workers who took them in
 * order would all write to one file at a time, and queue for its lock. Here every worker has parts
 * of its own, and helps with the others' when those are done.
 *
 * A segment belongs to the part in which it begins. A word for each part, 64 bytes apart, counts the
 * segments that are taken; whoever has claimed a unit of the phase finds one that is left.
 */
import { assert } from '../assert.ts';
import type { Segments } from './piece-table.ts';

export const PART_CLAIM = {
  TAKEN: 0, // segments of this part that were asked for, some in vain; Atomics only
  WORDS: 16,
} as const;

const { TAKEN, WORDS } = PART_CLAIM;

export function partClaimsBytes(parts: number): number {
  return parts * WORDS * 4;
}

export class PartClaims {
  readonly #words: Int32Array;
  readonly #parts: number;
  /** First segment of each part, and one word more: where the last part ends. */
  readonly #first: Int32Array;
  readonly #home: number;
  readonly #homes: number;
  /** How many homes this worker is beyond its own, and the part there: those before have none left. */
  #moves = 0;
  #part: number;

  /** What worker number `worker` of `workers` sees. `buffer` is zeros before the phase. */
  constructor(
    buffer: SharedArrayBuffer,
    segments: Pick<Segments, 'offset'>,
    segmentCount: number,
    partBytes: number,
    { worker, workers }: { readonly worker: number; readonly workers: number },
  ) {
    this.#words = new Int32Array(buffer);
    this.#parts = this.#words.length / WORDS;
    this.#first = firstSegments(segments, segmentCount, partBytes, this.#parts);
    this.#homes = Math.min(workers, this.#parts);
    this.#home = worker % this.#homes;
    this.#part = this.#home;
  }

  /** The next segment for this worker. Asked for once for every unit that anybody has claimed. */
  take(): number {
    for (; this.#moves < this.#homes; this.#part = (this.#home + ++this.#moves) % this.#homes) {
      for (; this.#part < this.#parts; this.#part += this.#homes) {
        const first = this.#first[this.#part]!;
        const count = this.#first[this.#part + 1]! - first;
        const taken = Atomics.add(this.#words, this.#part * WORDS + TAKEN, 1);
        if (taken < count) return first + taken;
      }
    }
    assert(false, 'there are as many segments as units');
  }
}

function firstSegments(
  segments: Pick<Segments, 'offset'>,
  segmentCount: number,
  partBytes: number,
  parts: number,
): Int32Array {
  const first = new Int32Array(parts + 1);
  let segment = 0;
  for (let part = 1; part < parts; part++) {
    while (segment < segmentCount && segments.offset(segment) < part * partBytes) segment++;
    first[part] = segment;
  }
  first[parts] = segmentCount;
  return first;
}
