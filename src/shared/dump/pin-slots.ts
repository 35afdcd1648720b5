/**
 * Whose turn it is with the pins of a unit: a worker fills one slot while the coordinator gives back
 * what another holds, so that a pin lives for one unit. Only the coordinator gives references back: a
 * worker that dies has changed nothing that others rely on.
 *
 *   FREE ──worker: take──▶ FILLING ──worker: done──▶ DONE ──coordinator, every pin given back──▶ FREE
 *
 * Slot s holds pages [s × unitPages, (s + 1) × unitPages) of the pin table. A FREE slot's pins are 0.
 */
import { waitAsync, waitSync, wakeAll } from '../sync/wait.ts';
import type { StopWord } from './look-back.ts';

export const PIN_SLOTS = {
  CHANGES: 0, // counts slots that are DONE; Atomics only, the coordinator waits on it
  EMPTIED: 1, // counts slots that are FREE again, and calls of `wake`; Atomics only, workers wait on it
  STATES: 16, // one word per slot: FREE, FILLING or DONE; Atomics only
} as const;

/** Slots of each worker: one that it fills, one that is being emptied. */
export const SLOTS_PER_WORKER = 2;

const { CHANGES, EMPTIED, STATES } = PIN_SLOTS;
const FREE = 0;
const FILLING = 1;
const DONE = 2;

export function pinSlotsBytes(workers: number): number {
  return (STATES + workers * SLOTS_PER_WORKER) * 4;
}

export class PinSlots {
  readonly #words: Int32Array;
  readonly #slots: number;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#slots = this.#words.length - STATES;
  }

  /** Worker: a free slot of its own, or -1 when the phase was stopped. */
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

  /** Worker: nobody needs the pins of the slot any more. */
  done(slot: number): void {
    Atomics.store(this.#words, STATES + slot, DONE);
    wakeAll(this.#words, CHANGES);
  }

  /** Coordinator: empties every slot that is done, by `empty`; until `over` fires. */
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
