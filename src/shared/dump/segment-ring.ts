/**
 * The ring through which the segments of an image reach a stream, in order. Workers fill slots, and
 * the coordinator empties them. The number of slots bounds the memory, however long the image is.
 *
 *   slot of segment n: n % slots
 *   slot:  empty ──worker, once n - CONSUMED < slots──▶ FULL = n + 1 ──coordinator──▶ empty
 *                                                                      CONSUMED = n + 1
 *
 * There is no deadlock. Segments are claimed in ascending order, so some worker is always working
 * on the lowest segment that is not written yet. All earlier segments are written, so the
 * coordinator can empty the slot of that segment.
 */
import { waitAsync, waitSync, wakeAll } from '../sync/wait.ts';
import type { PhaseControl } from './phase-control.ts';

/** The words of the ring. */
export const SEGMENT_RING = {
  CONSUMED: 0, // segments that the coordinator has consumed; Atomics only
  CHANGES: 1, //  counts filled slots; Atomics only, the coordinator waits on it
  EMPTIED: 2, //  counts emptied slots and calls of `wake`; Atomics only, workers wait on it
  SLOTS: 16, //   one RING_SLOT record per slot
} as const;

/** The words of a slot. */
export const RING_SLOT = {
  FULL: 0, //  number of the segment in the slot, plus one; Atomics only, publishes BYTES
  BYTES: 1, // length of that segment; by the worker that fills the slot
  WORDS: 2,
} as const;

const { CONSUMED, CHANGES, EMPTIED, SLOTS } = SEGMENT_RING;
const { FULL, BYTES, WORDS } = RING_SLOT;

/** The ring as it is posted. */
export interface RingBuffers {
  readonly control: SharedArrayBuffer;
  readonly slots: readonly SharedArrayBuffer[];
}

/** A ring of `slots` empty slots of `slotBytes` bytes each. */
export function createRing(slots: number, slotBytes: number): RingBuffers {
  return {
    control: new SharedArrayBuffer((SLOTS + slots * WORDS) * 4),
    slots: Array.from({ length: slots }, () => new SharedArrayBuffer(slotBytes)),
  };
}

/** The ring as one thread sees it. */
export class SegmentRing {
  readonly #words: Int32Array;
  readonly #slots: number;

  constructor({ control, slots }: RingBuffers) {
    this.#words = new Int32Array(control);
    this.#slots = slots.length;
  }

  slotOf(segment: number): number {
    return segment % this.#slots;
  }

  /** Worker: blocks until the slot of the segment is empty. False if the phase was stopped. */
  waitForSlot(segment: number, phase: PhaseControl): boolean {
    for (;;) {
      const seen = Atomics.load(this.#words, EMPTIED); // first, so that no later change is missed
      if (segment - Atomics.load(this.#words, CONSUMED) < this.#slots) return true;
      if (phase.isStopped) return false;
      waitSync(this.#words, EMPTIED, seen);
    }
  }

  /** Worker: publishes a segment of `bytes` bytes, which lies in its slot. */
  fill(segment: number, bytes: number): void {
    const at = this.#slot(segment);
    this.#words[at + BYTES] = bytes;
    Atomics.store(this.#words, at + FULL, segment + 1);
    wakeAll(this.#words, CHANGES);
  }

  /** Coordinator: the length of a segment that lies in its slot. */
  bytes(segment: number): number {
    return this.#words[this.#slot(segment) + BYTES]!;
  }

  /**
   * Coordinator: resolves to true once the segment lies in its slot. Resolves to false if `over`
   * fires first, which says that no worker is left to write it.
   */
  async waitForSegment(segment: number, over: AbortSignal): Promise<boolean> {
    for (;;) {
      const seen = Atomics.load(this.#words, CHANGES);
      if (Atomics.load(this.#words, this.#slot(segment) + FULL) === segment + 1) return true;
      if (over.aborted) return false;
      await waitAsync(this.#words, CHANGES, seen, over).catch(rethrowUnless(over));
    }
  }

  /** Coordinator: frees the slot of the segment. */
  consume(segment: number): void {
    Atomics.store(this.#words, CONSUMED, segment + 1);
    wakeAll(this.#words, EMPTIED);
  }

  /** Makes the workers that wait look at the stop word now, not only when their wait times out. */
  wake(): void {
    wakeAll(this.#words, EMPTIED);
  }

  #slot(segment: number): number {
    return SLOTS + this.slotOf(segment) * WORDS;
  }
}

/** The end of the phase is not an error for the coordinator that waits. */
function rethrowUnless(over: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!over.aborted) throw error;
  };
}
