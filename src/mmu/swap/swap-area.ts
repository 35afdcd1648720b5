/**
 * The swap area (mm/swapfile.c): slots of one page each, and a map with the number of page-table
 * entries that refer to each slot (swap_map).
 *
 *   count of a slot:  0 ──allocate (compare-exchange)──▶ 1 ⇄ n (fork, zap, swap-in) ──▶ 0
 *
 * The thread that allocates a slot writes its bytes once, before it publishes an entry that refers
 * to the slot. The bytes do not change while the count is above 0, so they are read without a lock.
 * A thread that dies between `allocate` and publishing the entry leaks the slot. This does no
 * further harm: the thread held a page-table lock, so the machine is poisoned.
 */
import { assert } from '../../shared/assert.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { BANK_FRAMES, BANK_MASK, BANK_SHIFT } from '../physical/physical-memory.ts';
import { PTE, SWAP_TYPE, swapHigh, swapLow, swapTypeOf, swapValueOf } from '../tables/pte.ts';

/** The words of the swap map. */
export const SWAP_MAP = {
  FREE: 0, //    free slots; Atomics only
  HINT: 1, //    slot where the next search for a free one begins, any value is right; Atomics only
  COUNTS: 16, // references, one word per slot; Atomics only
} as const;

const { FREE, HINT, COUNTS } = SWAP_MAP;
const LOW_BITS = 0xfff & ~PTE.SWAP_SOFT_DIRTY;
const TYPE_BITS = 0x7ff_ffff; // of the high word, below the type

/** Most slots that page-table entries can name: 62 GiB. */
export const SWAP_SLOTS_MAX: number = (SWAP_TYPE.LAST_BANK + 1) * BANK_FRAMES;

/** Size of the map for `slots` slots, in bytes. */
export function swapMapBytes(slots: number): number {
  return (COUNTS + slots) * 4;
}

export class SwapArea {
  readonly slots: number;
  /** The number of slot 0 in PhysicalMemory, which counts swap slots on after the frames. */
  readonly base: number;
  readonly #words: Int32Array;
  readonly #threads: ThreadTable;

  constructor(buffer: SharedArrayBuffer, base: number, threads: ThreadTable) {
    this.#words = new Int32Array(buffer);
    this.#threads = threads;
    this.slots = this.#words.length - COUNTS;
    this.base = base;
  }

  /** Called once, by the creator of the machine. */
  initialise(): void {
    this.#words[FREE] = this.slots;
  }

  get free(): number {
    return Atomics.load(this.#words, FREE);
  }

  /** Returns a slot with one reference, or -1 if no slot is free. */
  allocate(thread: number): number {
    this.#threads.assertInside(thread, 'a swap slot is taken');
    const words = this.#words;
    if (Atomics.sub(words, FREE, 1) <= 0) {
      Atomics.add(words, FREE, 1);
      return -1;
    }
    // FREE was lowered first, so the search ends. Another thread may take the slot it looks at.
    let slot = Atomics.load(words, HINT) % this.slots;
    while (Atomics.compareExchange(words, COUNTS + slot, 0, 1) !== 0) {
      slot = slot + 1 === this.slots ? 0 : slot + 1;
    }
    Atomics.store(words, HINT, slot + 1);
    return slot;
  }

  references(slot: number): number {
    return Atomics.load(this.#words, COUNTS + slot);
  }

  /** Takes a reference for one more entry (swap_duplicate). */
  get(slot: number, thread: number): void {
    this.#threads.assertInside(thread, 'a reference to a swap slot is taken');
    Atomics.add(this.#words, COUNTS + slot, 1);
  }

  /** Drops the reference of one entry (swap_free). The last one frees the slot. */
  put(slot: number, thread: number): void {
    this.#threads.assertInside(thread, 'a reference to a swap slot is dropped');
    const before = Atomics.sub(this.#words, COUNTS + slot, 1);
    assert(before > 0, `swap slot ${slot} is released more often than it was taken`);
    if (before === 1) Atomics.add(this.#words, FREE, 1);
  }

  /** The number under which PhysicalMemory has the bytes of the slot, in place of a pfn. */
  frameOf(slot: number): number {
    return this.base + slot;
  }

  /**
   * Returns the slot of a swap entry, or -1 if the entry does not name a slot in use. The entry
   * must be neither zero nor present.
   */
  slotOf(low: number, high: number): number {
    const bank = swapTypeOf(high);
    const value = swapValueOf(low);
    if (bank > SWAP_TYPE.LAST_BANK || value === 0 || value > BANK_FRAMES) return -1;
    if ((low & LOW_BITS) !== 0 || (high & TYPE_BITS) !== 0) return -1;
    const slot = bank * BANK_FRAMES + value - 1;
    return slot < this.slots && this.references(slot) > 0 ? slot : -1;
  }

  /** Low word of the swap entry for a slot; `highOf` is its high word. */
  lowOf(slot: number): number {
    return swapLow(slot & BANK_MASK);
  }

  highOf(slot: number): number {
    return swapHigh(slot >>> BANK_SHIFT);
  }
}
