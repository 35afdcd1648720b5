/**
 * Slots for the pins of units, so that a pin is held for one unit only. A worker fills one slot
 * while the coordinator puts the references of another one. Only the coordinator puts references,
 * so a worker that dies has changed nothing that others rely on.
 *
 *   FREE ──worker: take──▶ FILLING ──worker: done──▶ DONE ──coordinator: all pins put──▶ FREE
 *
 * Slot s holds pages [s × unitPages, (s + 1) × unitPages) of the pin table. All pins of a FREE slot
 * are 0.
 */
import { waitAsync, waitSync, wakeAll } from '../sync/wait.ts';
import type { StopWord } from './look-back.ts';

/** The words of the slots. */
export const PIN_SLOTS = {
  CHANGES: 0, // counts slots that became DONE; Atomics only, the coordinator waits on it
  EMPTIED: 1, // counts slots that became FREE and calls of `wake`; Atomics only, workers wait on it
  STATES: 16, // one word per slot: FREE, FILLING or DONE; Atomics only
} as const;

/** Slots per worker: one that it fills, and one that is being emptied. */
export const SLOTS_PER_WORKER = 2;

const { CHANGES, EMPTIED, STATES } = PIN_SLOTS;
const FREE = 0;
const FILLING = 1;
const DONE = 2;

/** Bytes of the words for `workers` workers. */
export function pinSlotsBytes(workers: number): number {
  return (STATES + workers * SLOTS_PER_WORKER) * 4;
}

/** The slots as one thread sees them. */
export class PinSlots {
  readonly #words: Int32Array;
  readonly #slots: number;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#slots = this.#words.length - STATES;
  }

  /** Worker: waits for a free slot of its own and takes it. Returns -1 if the phase was stopped. */
  take(worker: number, stop: StopWord): number {
    const first = worker * SLOTS_PER_WORKER;
    for (;;) {
      const seen = Atomics.load(this.#words, EMPTIED); // first, so that no later change is missed
      for (let slot = first; slot < first + SLOTS_PER_WORKER; slot++) {
        if (Atomics.load(this.#words, STATES + slot) !== FREE) continue;
        Atomics.store(this.#words, STATES + slot, FILLING);
        return slot;
      }
      if (stop.isStopped) return -1;
      waitSync(this.#words, EMPTIED, seen);
    }
  }

  /** Worker: the pins of the slot are no longer needed. */
  done(slot: number): void {
    Atomics.store(this.#words, STATES + slot, DONE);
    wakeAll(this.#words, CHANGES);
  }

  /**
   * Coordinator: until `over` fires, calls `empty` for every slot that is done, and frees the slot.
   */
  async drain(empty: (slot: number) => void, over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      const seen = Atomics.load(this.#words, CHANGES);
      for (let slot = 0; slot < this.#slots; slot++) {
        if (Atomics.load(this.#words, STATES + slot) !== DONE) continue;
        empty(slot);
        Atomics.store(this.#words, STATES + slot, FREE);
        wakeAll(this.#words, EMPTIED);
      }
      await waitAsync(this.#words, CHANGES, seen, over).catch((error: unknown) => {
        if (!over.aborted) throw error;
      });
    }
  }

  /** Makes the workers that wait look at the stop word now. */
  wake(): void {
    wakeAll(this.#words, EMPTIED);
  }
}
