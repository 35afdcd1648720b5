/**
 * The words that the coordinator and the workers of one phase share: which unit is claimed next,
 * whether to stop, and how far each worker is. Each worker runs one long task, which claims units
 * until none is left.
 *
 *   | shared words | worker 0 | worker 1 | …      64 bytes each: no two share a cache line
 */

/** The words of a phase, which its threads share. */
export const PHASE = {
  NEXT_UNIT: 0, // the next unit to be claimed; Atomics only
  STOP: 1, //      not 0: no worker may claim another unit; Atomics only
  ARRIVED: 2, //   workers that have arrived at the rendezvous; Atomics only, tests only
  FOUND: 3, //     pages with content that the load phase has found; Atomics only
  WORKERS: 16, //  one WORKER_PROGRESS record per worker
} as const;

/**
 * The words of a worker: how far it is. Written by the worker alone; the coordinator reads it for
 * the progress.
 */
export const WORKER_PROGRESS = {
  UNITS: 0,
  PAGES: 1,
  BYTES: 2, // Float64 at word 2; one writer, and a torn read only disturbs a progress bar
  CLAIMED: 4, // unit at work, plus one, or 0; Atomics only, remains when the thread dies
  WORDS: 16,
} as const;

const { NEXT_UNIT, STOP, ARRIVED, FOUND, WORKERS } = PHASE;
const { UNITS, PAGES, BYTES, CLAIMED, WORDS } = WORKER_PROGRESS;

/** The longest wait at a rendezvous. A worker that has not arrived by then will not arrive. */
const RENDEZVOUS_MS = 10_000;

/** The shared words of a phase of `workers` workers. */
export function createPhase(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer((WORKERS + workers * WORDS) * 4);
}

/** A phase as one thread sees it. */
export class PhaseControl {
  readonly words: Int32Array;
  readonly #bytes: Float64Array;
  readonly workers: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
    this.#bytes = new Float64Array(buffer);
    this.workers = (this.words.length - WORKERS) / WORDS;
  }

  /** Claims a unit below `count`. Returns -1 if none is left, or if the phase was stopped. */
  claim(count: number, worker: number): number {
    if (Atomics.load(this.words, STOP) !== 0) return -1;
    const unit = Atomics.add(this.words, NEXT_UNIT, 1);
    if (unit >= count) return -1;
    Atomics.store(this.words, WORKERS + worker * WORDS + CLAIMED, unit + 1);
    return unit;
  }

  /** The unit that a worker has claimed and not finished, even if its thread has died since. */
  claimedBy(worker: number): number | undefined {
    const unit = Atomics.load(this.words, WORKERS + worker * WORDS + CLAIMED) - 1;
    return unit < 0 ? undefined : unit;
  }

  /** Stops the phase: no worker claims another unit. Workers that wait must be woken separately. */
  stop(): void {
    Atomics.store(this.words, STOP, 1);
  }

  get isStopped(): boolean {
    return Atomics.load(this.words, STOP) !== 0;
  }

  /** Adds `count` to the pages that were found, and returns the sum. */
  found(count: number): number {
    return Atomics.add(this.words, FOUND, count) + count;
  }

  /** The worker has finished the unit that it had claimed. */
  advance(worker: number, pages: number, bytes: number): void {
    const at = WORKERS + worker * WORDS;
    this.words[at + UNITS]! += 1;
    this.words[at + PAGES]! += pages;
    this.#bytes[(at + BYTES) / 2]! += bytes;
    Atomics.store(this.words, at + CLAIMED, 0);
  }

  /** How far a worker is. */
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
   * Waits until `count` workers have claimed a unit. The caller has just claimed its first one. A
   * test proves with it that `count` workers run at the same time. The wait is bounded, and ends if
   * the phase is stopped.
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
