/**
 * What the coordinator and the workers of one phase share: who takes which unit, when to stop, how
 * far everybody is. One long task per worker claims units until none is left.
 *
 *   | shared words | worker 0 | worker 1 | …      64 bytes each, so nobody shares a cache line
 */

export const PHASE = {
  NEXT_UNIT: 0, // the next unit to be claimed; Atomics only
  STOP: 1, //      not 0: claim nothing more; Atomics only
  ARRIVED: 2, //   workers that wait at the rendezvous; Atomics only, tests only
  FOUND: 3, //     pages with content that were found (load); Atomics only
  WORKERS: 16, //  one record a worker
} as const;

/** How far a worker is: written by it alone, read by the coordinator for the progress. */
export const WORKER_PROGRESS = {
  UNITS: 0,
  PAGES: 1,
  BYTES: 2, // Float64 at word 2: one writer, a torn read only disturbs a progress bar
  CLAIMED: 4, // the unit that it works on, plus one; 0: none. Still there when the thread is gone
  WORDS: 16,
} as const;

const { NEXT_UNIT, STOP, ARRIVED, FOUND, WORKERS } = PHASE;
const { UNITS, PAGES, BYTES, CLAIMED, WORDS } = WORKER_PROGRESS;

/** Longest wait at a rendezvous: whoever is missing by then will not come. */
const RENDEZVOUS_MS = 10_000;

export function createPhase(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer((WORKERS + workers * WORDS) * 4);
}

export class PhaseControl {
  readonly words: Int32Array;
  readonly #bytes: Float64Array;
  readonly workers: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.#bytes = new Float64Array(buffer);
    this.workers = (this.words.length - WORKERS) / WORDS;
  }

  /** The next unit below `count`, or -1 when there is none or everybody was told to stop. */
  claim(count: number, worker: number): number {
    if (Atomics.load(this.words, STOP) !== 0) return -1;
    const unit = Atomics.add(this.words, NEXT_UNIT, 1);
    if (unit >= count) return -1;
    Atomics.store(this.words, WORKERS + worker * WORDS + CLAIMED, unit + 1);
    return unit;
  }

  /** The unit that a worker had claimed and not finished, also once its thread is gone. */
  claimedBy(worker: number): number | undefined {
    const unit = Atomics.load(this.words, WORKERS + worker * WORDS + CLAIMED) - 1;
    return unit < 0 ? undefined : unit;
  }

  stop(): void {
    Atomics.store(this.words, STOP, 1);
  }

  get isStopped(): boolean {
    return Atomics.load(this.words, STOP) !== 0;
  }

  /** Notes `count` pages more that were found; returns how many are by now. */
  found(count: number): number {
    return Atomics.add(this.words, FOUND, count) + count;
  }

  /** A worker has finished the unit that it had claimed. */
  advance(worker: number, pages: number, bytes: number): void {
    const at = WORKERS + worker * WORDS;
    this.words[at + UNITS]! += 1;
    this.words[at + PAGES]! += pages;
    this.#bytes[(at + BYTES) / 2]! += bytes;
    Atomics.store(this.words, at + CLAIMED, 0);
  }

  progressOf(worker: number): {
    readonly units: number;
    readonly pages: number;
    readonly bytes: number;
  } {
    const at = WORKERS + worker * WORDS;
    return {
      units: this.words[at + UNITS]!,
      pages: this.words[at + PAGES]!,
      bytes: this.#bytes[(at + BYTES) / 2]!,
    };
  }

  /**
   * Waits, after the first claim, until `count` workers have claimed: proof for a test that so many
   * run at the same time. Bounded; a worker that is stopped does not wait.
   */
  rendezvous(count: number): void {
    const arrived = Atomics.add(this.words, ARRIVED, 1) + 1;
    if (arrived >= count) {
      Atomics.notify(this.words, ARRIVED);
      return;
    }
    const deadline = performance.now() + RENDEZVOUS_MS;
    while (!this.isStopped && performance.now() < deadline) {
      const seen = Atomics.load(this.words, ARRIVED);
      if (seen >= count) return;
      Atomics.wait(this.words, ARRIVED, seen, 100);
    }
  }
}
