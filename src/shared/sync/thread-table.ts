/**
 * The threads of one machine: who may hold a lock, what each holds, and whether the machine can
 * still be trusted.
 *
 * A "thread" is whoever can hold a lock: a worker, the main thread, a dump in flight, a pending
 * asynchronous operation. Each has a slot, and only its owner writes it, save for the two edges
 * that `lifecycle` draws:
 *
 *   FREE ──register (compare-exchange)──▶ LIVE ──release──▶ FREE
 *                                          │
 *                                          └─declareDead (compare-exchange)──▶ DEAD ──bury──▶ FREE
 *
 * `declareDead` is called by the host of a thread that was terminated; from then on nothing waits
 * for it. `bury` follows once every lock it held was given back, or the machine was poisoned.
 *
 * Lock order, outermost first. A thread may take a lock only while it holds none of the same or a
 * later rank; HELD records what it holds, one bit a rank.
 *
 *   freeze gate → mmap lock (readers-writer) → LDT lock → file lock → page-table lock → allocator
 *   → file table → store
 */
import { assert } from '../assert.ts';
import { MmdumpError } from '../errors.ts';

/** Threads that can be registered at the same time. */
export const THREADS_MAX = 256;

/** For code that reads a machine that somebody else has stopped, and takes no lock itself. */
export const NO_THREAD = -1;

export const THREAD_HEADER = {
  POISON: 0, //       0, or a PoisonReason; Atomics only, never reset
  POISONED_BY: 1, //  id of the thread that caused it; written before POISON
  HIGH_WATER: 2, //   all ids ever used are below; Atomics only, grows
  WORDS: 16,
} as const;

export const THREAD_SLOT = {
  STATE: 0, // FREE, LIVE or DEAD; Atomics only
  GATE: 1, //  1 while inside the freeze gate; Atomics, written by its owner
  HELD: 2, //  bits of RANK; written by its owner, read by others once it is dead
  LOOKS: 3, // 1: an onlooker, see registerOnlooker; written before anybody else knows the id
  WORDS: 16, // 64 bytes: no two threads share a cache line
} as const;

export const RANK = {
  GATE: 0x01,
  MMAP_READ: 0x02,
  MMAP_WRITE: 0x04,
  LDT: 0x08,
  FILE: 0x10,
  PAGE_TABLE: 0x20,
  ALLOCATOR: 0x40,
  FILE_TABLE: 0x80,
  STORE: 0x100,
} as const;

/** A thread that dies while it holds one of these was changing something. */
const WRITING =
  RANK.MMAP_WRITE |
  RANK.LDT |
  RANK.FILE |
  RANK.PAGE_TABLE |
  RANK.ALLOCATOR |
  RANK.FILE_TABLE |
  RANK.STORE;

/** Why a machine is not to be trusted any more. */
export type PoisonReason = 1 | 2;
export const DIED_WRITING = 1;
export const LOCKED_UP = 2;

const { POISON, POISONED_BY, HIGH_WATER, WORDS: HEADER_WORDS } = THREAD_HEADER;
const { STATE, GATE, HELD, LOOKS, WORDS: SLOT_WORDS } = THREAD_SLOT;
const FREE = 0;
const LIVE = 1;
const DEAD = 2;

export const THREAD_TABLE_WORDS: number = HEADER_WORDS + THREADS_MAX * SLOT_WORDS;

export class ThreadTable {
  readonly #words: Int32Array;
  readonly #base: number;
  /** Assert the lock order on every acquisition. Off in production, on in tests. */
  readonly checksOrder: boolean;

  constructor(words: Int32Array, base: number, checksOrder: boolean) {
    this.#words = words;
    this.#base = base;
    this.checksOrder = checksOrder;
  }

  #slot(id: number): number {
    return this.#base + HEADER_WORDS + id * SLOT_WORDS;
  }

  /** Takes a free slot. Lowest first, so that scans over all threads stay short. */
  register(): number {
    return this.#take(0);
  }

  /**
   * A slot for a thread that takes locks only to look behind them. One that dies has changed nothing:
   * its locks are broken, and nobody distrusts the machine.
   */
  registerOnlooker(): number {
    return this.#take(1);
  }

  #take(looks: number): number {
    const words = this.#words;
    for (let id = 0; id < THREADS_MAX; id++) {
      const at = this.#slot(id);
      if (Atomics.compareExchange(words, at + STATE, FREE, LIVE) !== FREE) continue;
      words[at + GATE] = 0;
      words[at + HELD] = 0;
      words[at + LOOKS] = looks;
      this.#raiseHighWater(id + 1);
      return id;
    }
    throw new MmdumpError(
      'TOO_MANY_THREADS',
      `all ${THREADS_MAX} thread slots of the machine are taken: release threads that have ended`,
    );
  }

  #raiseHighWater(count: number): void {
    const at = this.#base + HIGH_WATER;
    for (;;) {
      const seen = Atomics.load(this.#words, at);
      if (seen >= count) return;
      if (Atomics.compareExchange(this.#words, at, seen, count) === seen) return;
    }
  }

  /** Gives the slot of a living thread back. It must hold nothing. */
  release(id: number): void {
    const at = this.#slot(id);
    assert(this.#words[at + HELD] === 0, `thread ${id} leaves while it holds a lock`);
    Atomics.store(this.#words, at + STATE, FREE);
  }

  /** Every id in use is below this. */
  get highWater(): number {
    return Atomics.load(this.#words, this.#base + HIGH_WATER);
  }

  /** Whether the slot is taken by a thread that nobody declared dead. For assertions. */
  isLive(id: number): boolean {
    return Atomics.load(this.#words, this.#slot(id) + STATE) === LIVE;
  }

  /**
   * Whether thread `id` died while a lock's word showed `value`, which names it as the owner. A
   * thread that has let go, and ended since, is no reason to distrust anything: the word is read
   * once more after its state.
   */
  diedOwning(id: number, words: Int32Array, at: number, value: number): boolean {
    if (Atomics.load(this.#words, this.#slot(id) + STATE) !== DEAD) return false;
    if (this.isOnlooker(id)) return false; // whoever buries it breaks the lock first
    return Atomics.load(words, at) === value;
  }

  isOnlooker(id: number): boolean {
    return this.#words[this.#slot(id) + LOOKS] === 1;
  }

  /** True for the one caller that may clean up after the thread. */
  declareDead(id: number): boolean {
    if (id < 0 || id >= THREADS_MAX) return false;
    return Atomics.compareExchange(this.#words, this.#slot(id) + STATE, LIVE, DEAD) === LIVE;
  }

  bury(id: number): void {
    const at = this.#slot(id);
    this.#words[at + HELD] = 0;
    Atomics.store(this.#words, at + GATE, 0);
    Atomics.store(this.#words, at + STATE, FREE);
  }

  /** Whether the (dead) thread held a lock that protects a change. */
  diedWriting(id: number): boolean {
    return !this.isOnlooker(id) && (this.#words[this.#slot(id) + HELD]! & WRITING) !== 0;
  }

  /** Word index of the thread's place in the freeze gate. */
  gateWord(id: number): number {
    return this.#slot(id) + GATE;
  }

  /** Records that `id` is about to hold a lock of this rank. Call before acquiring. */
  assertOrder(id: number, rank: number): void {
    if (!this.checksOrder) return;
    const held = this.#words[this.#slot(id) + HELD]!;
    // Same rank or a later one. The two modes of the mmap lock exclude each other as well.
    const later = rank === RANK.MMAP_WRITE ? ~RANK.GATE : ~(rank - 1);
    assert(
      (held & later) === 0,
      `lock order: thread ${id} holds 0x${held.toString(16)} and takes 0x${rank.toString(16)}`,
    );
  }

  /**
   * Asserts that the thread may change the machine, that is, that it is inside the freeze gate. An
   * onlooker may as well: it takes references for a dump whose coordinator is inside. Like the lock
   * order, this is asserted only in machines with `checks`.
   */
  assertInside(id: number, change: string): void {
    if (!this.checksOrder) return;
    assert(
      this.holds(id, RANK.GATE) || this.isOnlooker(id),
      `freeze gate: thread ${id} is outside and makes a change: ${change}`,
    );
  }

  hold(id: number, rank: number): void {
    this.#words[this.#slot(id) + HELD]! |= rank;
  }

  drop(id: number, rank: number): void {
    this.#words[this.#slot(id) + HELD]! &= ~rank;
  }

  holds(id: number, rank: number): boolean {
    return (this.#words[this.#slot(id) + HELD]! & rank) !== 0;
  }

  /** Marks the machine as not to be trusted. Whoever waits must then be woken by the caller. */
  poison(reason: PoisonReason, thread: number): void {
    if (Atomics.load(this.#words, this.#base + POISON) !== 0) return;
    Atomics.store(this.#words, this.#base + POISONED_BY, thread);
    Atomics.store(this.#words, this.#base + POISON, reason);
  }

  get isPoisoned(): boolean {
    return Atomics.load(this.#words, this.#base + POISON) !== 0;
  }

  /** Throws MACHINE_POISONED once the machine is. */
  assertTrusted(): void {
    const reason = Atomics.load(this.#words, this.#base + POISON);
    if (reason === 0) return;
    const thread = Atomics.load(this.#words, this.#base + POISONED_BY);
    const story =
      reason === DIED_WRITING
        ? `thread ${thread} died in the middle of a change`
        : `thread ${thread} held a spin lock for longer than any operation takes`;
    throw new MmdumpError(
      'MACHINE_POISONED',
      `the machine is not to be trusted any more: ${story}; create a new one`,
    );
  }
}
