/**
 * The ring through which segments reach a stream, in order: workers fill slots, the coordinator
 * empties them. Memory is bounded by the slots, whatever the image's length.
 *
 *   slot of segment n: n % slots
 *   slot:  empty ──worker (once n - CONSUMED < slots)──▶ FULL = n + 1 ──coordinator: CONSUMED = n + 1──▶ empty
 *
 * Segments are claimed in ascending order, so the lowest one that is not written yet is always being
 * worked on, and its slot is empty: nobody waits in a circle.
 */
import { waitAsync, waitSync, wakeAll } from '../sync/wait.ts';
import type { PhaseControl } from './phase-control.ts';

export const SEGMENT_RING = {
  CONSUMED: 0, // segments that the coordinator is done with; Atomics only
  CHANGES: 1, //  counts fillings; Atomics only, the coordinator waits on it
  EMPTIED: 2, //  counts emptyings, and calls to look at the stop word; Atomics only, workers wait on it
  SLOTS: 16, //   one RING_SLOT record per slot
} as const;

export const RING_SLOT = {
  FULL: 0, //  number of the segment in the slot, plus one; Atomics only, publishes BYTES
  BYTES: 1, // length of that segment; by the worker that fills the slot
  WORDS: 2,
} as const;

const { CONSUMED, CHANGES, EMPTIED, SLOTS } = SEGMENT_RING;
const { FULL, BYTES, WORDS } = RING_SLOT;

export interface RingBuffers {
  readonly control: SharedArrayBuffer;
  readonly slots: readonly SharedArrayBuffer[];
}

export function createRing(slots: number, slotBytes: number): RingBuffers {
  return {
    control: new SharedArrayBuffer((SLOTS + slots * WORDS) * 4),
    slots: Array.from({ length: slots }, () => new SharedArrayBuffer(slotBytes)),
  };
}

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

  /** Worker: blocks until the segment's slot is empty. False when the phase was stopped. */
  waitForSlot(segment: number, phase: PhaseControl): boolean {
    for (;;) {
      const seen = Atomics.load(this.#words, EMPTIED); // first: nothing that comes after is missed
      if (segment - Atomics.load(this.#words, CONSUMED) < this.#slots) return true;
      if (phase.isStopped) return false;
      waitSync(this.#words, EMPTIED, seen);
    }
  }

  /** Worker: the segment is in its slot, and has this length. */
  fill(segment: number, bytes: number): void {
    const at = this.#slot(segment);
    this.#words[at + BYTES] = bytes;
    Atomics.store(this.#words, at + FULL, segment + 1);
    wakeAll(this.#words, CHANGES);
  }

  /** Coordinator: length of a segment that is in its slot. */
  bytes(segment: number): number {
    return this.#words[this.#slot(segment) + BYTES]!;
  }

  /**
   * Coordinator: resolves once the segment is in its slot. False when `over` fires, which says that
   * no worker is left, and it is not there.
   */
  async waitForSegment(segment: number, over: AbortSignal): Promise<boolean> {
    for (;;) {
      const seen = Atomics.load(this.#words, CHANGES);
      if (Atomics.load(this.#words, this.#slot(segment) + FULL) === segment + 1) return true;
      if (over.aborted) return false;
      await waitAsync(this.#words, CHANGES, seen, over).catch(rethrowUnless(over));
    }
  }

  /** Coordinator: the slot of the segment may be filled again. */
  consume(segment: number): void {
    Atomics.store(this.#words, CONSUMED, segment + 1);
    wakeAll(this.#words, EMPTIED);
  }

  /** Makes the workers look at the stop word now, not at the next timeout. */
  wake(): void {
    wakeAll(this.#words, EMPTIED);
  }

  #slot(segment: number): number {
    return SLOTS + this.slotOf(segment) * WORDS;
  }
}

/** The end of the phase is no error to whoever waits for it. */
function rethrowUnless(over: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!over.aborted) throw error;
  };
}
