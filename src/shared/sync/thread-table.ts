/**
 * The threads of one machine: who may hold a lock, what each holds, and whether the machine can
 * still be used.
 *
 * A "thread" is whoever can hold a lock: a worker, the main thread, a dump in flight, a pending
 * asynchronous operation. Each has a slot, and only its owner writes it, save for the edges from
 * LIVE to DEAD and on:
 *
 *   FREE ──register (compare-exchange)──▶ LIVE ──release──▶ FREE
 *                                          │
 *                                          └─declareDead (compare-exchange)──▶ DEAD ──bury──▶ FREE
 *
 * `declareDead` is called by the host of a thread that was terminated, or by whoever finds out that
 * the operating system has ended it (`lookForEnded`); from then on nothing waits for it. `bury`
 * follows once every lock that it held was given back, or the machine was poisoned.
 *
 * The word STATE also names the life of the slot and the thread of the operating system, so that
 * one compare-exchange declares dead exactly the life that was looked at.
 *
 * Lock order, outermost first. A thread may take a lock only while it holds none of the same or a
 * later rank; HELD records what it holds, one bit a rank.
 *
 *   freeze gate → mmap lock (readers-writer) → LDT lock → file lock → page-table lock → allocator
 *   → file table → store
 */
import { assert } from '../assert.ts';
import { MmdumpError } from '../errors.ts';
import { hasEnded, thisOsThread } from './os-thread.ts';
import {
  ATTACHED,
  OPERATION,
  STATE_BITS,
  THREAD_HEADER,
  THREAD_SLOT,
  THREADS_MAX,
  type ThreadKind,
} from './thread-layout.ts';
import { Trust } from './trust.ts';
import { wakeAll } from './wait.ts';

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

const { HIGH_WATER, FREED, WAITERS, WORDS: HEADER_WORDS } = THREAD_HEADER;
const { STATE, GATE, HELD, LOOKS, KIND, OS_START, LIVES, WORDS: SLOT_WORDS } = THREAD_SLOT;
const { STATE: STATE_MASK, LIFE, NEXT_LIFE, TID_SHIFT } = STATE_BITS;
const LOOK_MS = 400;
const FREE = 0;
const LIVE = 1;
const DEAD = 2;

export class ThreadTable extends Trust {
  readonly #words: Int32Array;
  readonly #base: number;
  /** Assert the lock order on every acquisition. Off in production, on in tests. */
  readonly checksOrder: boolean;
  /** What has to be done for a thread that was found to have ended: declare it dead, and bury it. */
  onEnded: ((id: number, seen: number) => void) | undefined;

  #lookedAt: number | undefined;

  constructor(words: Int32Array, base: number, checksOrder: boolean) {
    super(words, base);
    this.#words = words;
    this.#base = base;
    this.checksOrder = checksOrder;
  }

  #slot(id: number): number {
    return this.#base + HEADER_WORDS + id * SLOT_WORDS;
  }

  /** Takes a free slot. Lowest first, so that scans over all threads stay short. */
  register(kind: ThreadKind = ATTACHED): number {
    const id = this.tryRegister(kind);
    if (id >= 0) return id;
    if (this.lookForEnded()) return this.register(kind);
    throw tooMany();
  }

  /**
   * A slot for a thread that takes locks only to look behind them. One that dies has changed nothing:
   * its locks are broken, and nobody distrusts the machine.
   */
  registerOnlooker(): number {
    const id = this.#take(OPERATION, 1);
    if (id < 0) throw tooMany();
    return id;
  }

  /** As `register`, or -1 where none is free. */
  tryRegister(kind: ThreadKind): number {
    return this.#take(kind, 0);
  }

  #take(kind: ThreadKind, looks: number): number {
    const words = this.#words;
    const { tid, start } = thisOsThread();
    for (let id = 0; id < THREADS_MAX; id++) {
      const at = this.#slot(id);
      const seen = Atomics.load(words, at + STATE);
      if ((seen & STATE_MASK) !== FREE) continue;
      const mine = (tid << TID_SHIFT) | ((seen + NEXT_LIFE) & LIFE) | LIVE;
      if (Atomics.compareExchange(words, at + STATE, seen, mine) !== seen) continue;
      words[at + GATE] = 0;
      words[at + HELD] = 0;
      words[at + LOOKS] = looks;
      words[at + KIND] = kind;
      Atomics.store(words, at + OS_START, start);
      this.#raiseHighWater(id + 1);
      return id;
    }
    return -1;
  }

  /** The calling thread is the one that `id` was registered for, by another thread. */
  adopt(id: number): void {
    const at = this.#slot(id);
    const { tid, start } = thisOsThread();
    Atomics.store(this.#words, at + OS_START, 0); // whoever looks meanwhile leaves it alone
    const seen = Atomics.load(this.#words, at + STATE);
    const mine = (tid << TID_SHIFT) | (seen & (LIFE | STATE_MASK));
    const isMine =
      (seen & STATE_MASK) === LIVE &&
      Atomics.compareExchange(this.#words, at + STATE, seen, mine) === seen;
    if (!isMine) throw new MmdumpError('OPTION_INVALID', `thread: ${id} is not registered`);
    Atomics.store(this.#words, at + OS_START, start);
  }

  /**
   * Somebody has waited in vain for a while: for a thread that has ended, perhaps. Looks at most
   * twice per second, however many wait.
   */
  lookAround(): void {
    const now = performance.now();
    this.#lookedAt ??= now;
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    this.lookForEnded();
  }

  /**
   * Looks for threads that have ended and told nobody, and hands them to `onEnded`. True if there
   * were any. Costs a read from /proc for each thread of the operating system.
   */
  lookForEnded(): boolean {
    const words = this.#words;
    const known = new Map<string, boolean>();
    let found = false;
    for (let id = 0; id < this.highWater && this.onEnded !== undefined; id++) {
      const at = this.#slot(id);
      const seen = Atomics.load(words, at + STATE);
      if ((seen & STATE_MASK) !== LIVE) continue;
      const thread = { tid: seen >>> TID_SHIFT, start: Atomics.load(words, at + OS_START) };
      const name = `${thread.tid} ${thread.start}`;
      const ended = known.get(name) ?? hasEnded(thread);
      known.set(name, ended);
      // OS_START belongs to the same life if STATE is as it was: else the next look tells.
      if (!ended || Atomics.load(words, at + STATE) !== seen) continue;
      this.onEnded(id, seen);
      found = true;
    }
    return found;
  }

  /** How many ids are free at this moment. */
  get free(): number {
    let count = THREADS_MAX - this.highWater;
    for (let id = THREADS_MAX - count - 1; id >= 0; id--) {
      const state = Atomics.load(this.#words, this.#slot(id) + STATE) & STATE_MASK;
      if (state === FREE) count++;
    }
    return count;
  }

  /** How many threads keep ids until they end. */
  get attached(): number {
    let count = 0;
    for (let id = 0; id < this.highWater; id++) {
      if (this.isLive(id) && this.#words[this.#slot(id) + KIND] === ATTACHED) count++;
    }
    return count;
  }

  /** Whether an operation is under way or waits for a lock. */
  get anyOperation(): boolean {
    for (let id = 0; id < this.highWater; id++) {
      if (this.isLive(id) && this.#words[this.#slot(id) + KIND] === OPERATION) return true;
    }
    return false;
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
    assert(!this.holdsAny(id), `thread ${id} leaves while it holds a lock`);
    this.#vacate(this.#slot(id));
  }

  #vacate(at: number): void {
    const words = this.#words;
    Atomics.add(words, at + LIVES, 1);
    Atomics.store(words, at + OS_START, 0);
    Atomics.store(words, at + STATE, (Atomics.load(words, at + STATE) & LIFE) | FREE);
    // A waiter counts itself before it looks for a free slot: one of the two sees the other.
    const header = this.#base;
    if (Atomics.load(words, header + WAITERS) > 0) wakeAll(words, header + FREED);
  }

  /** What to wait on for an id: read before one is looked for. */
  get freed(): { readonly words: Int32Array; readonly at: number; readonly seen: number } {
    const at = this.#base + FREED;
    return { words: this.#words, at, seen: Atomics.load(this.#words, at) };
  }

  /** Somebody waits for an id from now on (1), or does no more (-1). */
  countWaiter(change: 1 | -1): void {
    Atomics.add(this.#words, this.#base + WAITERS, change);
  }

  /** This life of a slot, for `declareDead`. */
  lifeOf(id: number): number {
    return Atomics.load(this.#words, this.#slot(id) + STATE);
  }

  /** Names this life of the slot to others: an id that is another's by now is told apart. */
  tokenOf(id: number): number {
    return Atomics.load(this.#words, this.#slot(id) + LIVES) * THREADS_MAX + id;
  }

  /** The id that a token names, or -1 where that life is over. */
  idOf(token: number): number {
    if (!Number.isSafeInteger(token) || token < 0) return -1;
    const id = token % THREADS_MAX;
    return this.tokenOf(id) === token ? id : -1;
  }

  /** Every id in use is below this. */
  get highWater(): number {
    return Atomics.load(this.#words, this.#base + HIGH_WATER);
  }

  /** Whether the slot is taken by a thread that nobody declared dead. For assertions. */
  isLive(id: number): boolean {
    return (Atomics.load(this.#words, this.#slot(id) + STATE) & STATE_MASK) === LIVE;
  }

  /**
   * Whether thread `id` died while a lock's word showed `value`, which names it as the owner. A
   * thread that has let go, and ended since, is no reason to distrust anything: the word is read
   * once more after its state.
   */
  diedOwning(id: number, words: Int32Array, at: number, value: number): boolean {
    if ((Atomics.load(this.#words, this.#slot(id) + STATE) & STATE_MASK) !== DEAD) return false;
    if (this.isOnlooker(id)) return false; // whoever buries it breaks the lock first
    return Atomics.load(words, at) === value;
  }

  /** Makes an onlooker of an id that nobody else knows yet. */
  becomeOnlooker(id: number): void {
    this.#words[this.#slot(id) + LOOKS] = 1;
  }

  isOnlooker(id: number): boolean {
    return this.#words[this.#slot(id) + LOOKS] === 1;
  }

  /** True for the one caller that may clean up after the thread. `seen`: this life and no other. */
  declareDead(id: number, seen?: number): boolean {
    if (id < 0 || id >= THREADS_MAX) return false;
    const at = this.#slot(id) + STATE;
    const life = seen ?? Atomics.load(this.#words, at);
    if ((life & STATE_MASK) !== LIVE) return false;
    return Atomics.compareExchange(this.#words, at, life, (life & ~STATE_MASK) | DEAD) === life;
  }

  bury(id: number): void {
    const at = this.#slot(id);
    this.#words[at + HELD] = 0;
    Atomics.store(this.#words, at + GATE, 0);
    this.#vacate(at);
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

  holdsAny(id: number): boolean {
    return this.#words[this.#slot(id) + HELD] !== 0;
  }
}

export function tooMany(): MmdumpError {
  return new MmdumpError(
    'TOO_MANY_THREADS',
    `all ${THREADS_MAX} thread slots of the machine are taken: detach threads that are done with it`,
  );
}
