/**
 * The swap area: slots of one page each, and for every slot the number of entries that refer to it
 * (mm/swapfile.c, swap_map).
 *
 *   count of a slot:  0 ──allocate (compare-exchange)──▶ 1 ⇄ n (fork, zap, swap-in) ──▶ 0
 *
 * A slot's bytes are written once, by whoever allocated it, before an entry with it is published;
 * after that they do not change while the count is above 0. So nobody needs a lock to read them.
 * A thread that dies between `allocate` and publishing the entry leaves a slot taken, no more: it
 * held a page-table lock then, and the machine is poisoned anyway.
 */
import { assert } from '../../shared/assert.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { BANK_FRAMES, BANK_MASK, BANK_SHIFT } from '../physical/physical-memory.ts';
import { SWAP_TYPE, swapHigh, swapLow, swapTypeOf, swapValueOf } from '../tables/pte.ts';

export const SWAP_MAP = {
  FREE: 0, //    free slots; Atomics only
  HINT: 1, //    where to look for a free one next; Atomics only, any value is right
  COUNTS: 16, // one word a slot; Atomics only
} as const;

const { FREE, HINT, COUNTS } = SWAP_MAP;
const LOW_BITS = 0xfff;
const TYPE_BITS = 0x7ff_ffff; // of the high word, below the type

/** Slots that the entries can name: 62 GiB. */
export const SWAP_SLOTS_MAX: number = (SWAP_TYPE.LAST_BANK + 1) * BANK_FRAMES;

/** Bytes of the map for `slots` slots. */
export function swapMapBytes(slots: number): number {
  return (COUNTS + slots) * 4;
}

export class SwapArea {
  readonly slots: number;
  /** "pfn" of slot 0: see PhysicalMemory. */
  readonly base: number;
  readonly #words: Int32Array;
  readonly #threads: ThreadTable;

  constructor(buffer: SharedArrayBuffer, base: number, threads: ThreadTable) {
    this.#words = new Int32Array(buffer);
    this.#threads = threads;
    this.slots = this.#words.length - COUNTS;
    this.base = base;
  }

  /** Once, by the machine's creator. */
  initialise(): void {
    this.#words[FREE] = this.slots;
  }

  get free(): number {
    return Atomics.load(this.#words, FREE);
  }

  /** A slot with one reference, or -1 when all are taken. */
  allocate(thread: number): number {
    this.#threads.assertInside(thread, 'a swap slot is taken');
    const words = this.#words;
    if (Atomics.sub(words, FREE, 1) <= 0) {
      Atomics.add(words, FREE, 1);
      return -1;
    }
    // FREE was lowered first, so one of the slots is ours; others may take the one we look at.
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

  /** One entry more refers to the slot (swap_duplicate). */
  get(slot: number, thread: number): void {
    this.#threads.assertInside(thread, 'a reference to a swap slot is taken');
    Atomics.add(this.#words, COUNTS + slot, 1);
  }

  /** One entry less (swap_free). */
  put(slot: number, thread: number): void {
    this.#threads.assertInside(thread, 'a reference to a swap slot is dropped');
    const before = Atomics.sub(this.#words, COUNTS + slot, 1);
    assert(before > 0, `swap slot ${slot} is released more often than it was taken`);
    if (before === 1) Atomics.add(this.#words, FREE, 1);
  }

  /** "pfn" under which the slot's bytes are found in PhysicalMemory. */
  frameOf(slot: number): number {
    return this.base + slot;
  }

  /** Slot of an entry that is neither zero nor present; -1 if it is no entry of a slot in use. */
  slotOf(low: number, high: number): number {
    const bank = swapTypeOf(high);
    const value = swapValueOf(low);
    if (bank > SWAP_TYPE.LAST_BANK || value === 0 || value > BANK_FRAMES) return -1;
    if ((low & LOW_BITS) !== 0 || (high & TYPE_BITS) !== 0) return -1;
    const slot = bank * BANK_FRAMES + value - 1;
    return slot < this.slots && this.references(slot) > 0 ? slot : -1;
  }

  /** Words of the entry that stands for a slot. */
  lowOf(slot: number): number {
    return swapLow(slot & BANK_MASK);
  }

  highOf(slot: number): number {
    return swapHigh(slot >>> BANK_SHIFT);
  }
}
