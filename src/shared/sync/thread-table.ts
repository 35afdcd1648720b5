/**
 * The threads of one machine: which threads may hold locks, what each holds, and whether the
 * machine can still be used.
 *
 * A "thread" here is anything that can hold a lock: a worker, the main thread, a dump in flight, or
 * a pending asynchronous operation. Each has a slot, which only its owner writes, except for the
 * edges from LIVE to DEAD and from there to FREE:
 *
 *   FREE ──register (compare-exchange)──▶ LIVE ──release──▶ FREE
 *                                          │
 *                                          └─declareDead (compare-exchange)──▶ DEAD ──bury──▶ FREE
 *
 * `declareDead` is called by the host of a thread that was terminated, or by a thread that finds
 * out that the operating system has ended it (`lookForEnded`). From then on nothing waits for the
 * dead thread. `bury` follows when all its locks have been given back, or the machine has been
 * poisoned.
 *
 * The word STATE also names the life of the slot and the thread of the operating system. So one
 * compare-exchange declares dead exactly the life that was looked at.
 *
 * Lock order, outermost first. A thread may take a lock only if it holds none of the same or a
 * later rank. HELD records what it holds, with one bit per rank.
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

/** Bits of the ranks, in the lock order. The mmap lock has one bit per mode. */
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

/** Locks that protect a change. A thread that dies with one of them was changing something. */
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
/** Milliseconds between two looks for threads that have ended. */
const LOOK_MS = 400;
const FREE = 0;
const LIVE = 1;
const DEAD = 2;

/** The thread table of a machine, over the words from `base` on. */
export class ThreadTable extends Trust {
  readonly #words: Int32Array;
  readonly #base: number;
  /**
   * Whether the lock order is asserted at every acquisition. True in tests, false in production.
   */
  readonly checksOrder: boolean;
  /**
   * Called for a thread that was found to have ended. It has to declare dead the life `seen`, and
   * bury it.
   */
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

  /**
   * Takes the lowest free slot, so that scans over all threads stay short. If none is free, it
   * looks for threads that have ended. Throws TOO_MANY_THREADS.
   */
  register(kind: ThreadKind = ATTACHED): number {
    const id = this.tryRegister(kind);
    if (id >= 0) return id;
    if (this.lookForEnded()) return this.register(kind);
    throw tooMany();
  }

  /**
   * Takes a slot for an onlooker, a thread that takes locks only to look at what they protect. If
   * it dies, it has changed nothing: its locks are broken, and the machine is not poisoned. Throws
   * TOO_MANY_THREADS.
   */
  registerOnlooker(): number {
    const id = this.#take(OPERATION, 1);
    if (id < 0) throw tooMany();
    return id;
  }

  /** Takes the lowest free slot, or returns -1 if none is free at the moment. */
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

  /**
   * Makes the calling thread the owner of `id`, which another thread has registered for it.
   * OPTION_INVALID if no living thread has the id.
   */
  adopt(id: number): void {
    const at = this.#slot(id);
    const { tid, start } = thisOsThread();
    Atomics.store(this.#words, at + OS_START, 0); // others leave it alone meanwhile
    const seen = Atomics.load(this.#words, at + STATE);
    const mine = (tid << TID_SHIFT) | (seen & (LIFE | STATE_MASK));
    const isMine =
      (seen & STATE_MASK) === LIVE &&
      Atomics.compareExchange(this.#words, at + STATE, seen, mine) === seen;
    if (!isMine) throw new MmdumpError('OPTION_INVALID', `thread: ${id} is not registered`);
    Atomics.store(this.#words, at + OS_START, start);
  }

  /**
   * Called by a thread that has waited in vain for a while, because what it waits for may have
   * ended. Looks at most about twice per second, however many operations of this thread wait.
   */
  lookAround(): void {
    const now = performance.now();
    this.#lookedAt ??= now;
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    this.lookForEnded();
  }

  /**
   * Looks for threads that have ended without telling, and passes them to `onEnded`. Returns
   * whether there were any. Reads /proc once per thread of the operating system.
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
      // OS_START belongs to the life `seen` only if STATE has not changed. Otherwise a later look
      // decides.
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

  /** How many ids are ATTACHED: those that are kept for a long time. */
  get attached(): number {
    let count = 0;
    for (let id = 0; id < this.highWater; id++) {
      if (this.isLive(id) && this.#words[this.#slot(id) + KIND] === ATTACHED) count++;
    }
    return count;
  }

  /** Whether some operation has an id. */
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

  /** Frees the slot of a living thread. Precondition: the thread holds nothing. */
  release(id: number): void {
    assert(!this.holdsAny(id), `thread ${id} leaves while it holds a lock`);
    this.#vacate(this.#slot(id));
  }

  #vacate(at: number): void {
    const words = this.#words;
    Atomics.add(words, at + LIVES, 1);
    Atomics.store(words, at + OS_START, 0);
    Atomics.store(words, at + STATE, (Atomics.load(words, at + STATE) & LIFE) | FREE);
    // A waiter counts itself before it looks for a free slot. So one of the two sees the other.
    const header = this.#base;
    if (Atomics.load(words, header + WAITERS) > 0) wakeAll(words, header + FREED);
  }

  /** The word to wait on for an id, and its value. Must be read before looking for an id. */
  get freed(): { readonly words: Int32Array; readonly at: number; readonly seen: number } {
    const at = this.#base + FREED;
    return { words: this.#words, at, seen: Atomics.load(this.#words, at) };
  }

  /** Counts a waiter for ids (1), or removes it from the count (-1). */
  countWaiter(change: 1 | -1): void {
    Atomics.add(this.#words, this.#base + WAITERS, change);
  }

  /** The word that names this life of a slot, for `declareDead`. */
  lifeOf(id: number): number {
    return Atomics.load(this.#words, this.#slot(id) + STATE);
  }

  /**
   * A number that names this life of the slot. It is given to callers in place of the id, so that
   * an id that has a new owner is recognised.
   */
  tokenOf(id: number): number {
    return Atomics.load(this.#words, this.#slot(id) + LIVES) * THREADS_MAX + id;
  }

  /** The id that a token names, or -1 if that life is over. */
  idOf(token: number): number {
    if (!Number.isSafeInteger(token) || token < 0) return -1;
    const id = token % THREADS_MAX;
    return this.tokenOf(id) === token ? id : -1;
  }

  /** All ids in use are below this number. */
  get highWater(): number {
    return Atomics.load(this.#words, this.#base + HIGH_WATER);
  }

  /** Whether the slot is taken by a thread that was not declared dead. */
  isLive(id: number): boolean {
    return (Atomics.load(this.#words, this.#slot(id) + STATE) & STATE_MASK) === LIVE;
  }

  /**
   * Whether thread `id` died while the word of a lock had `value`, which names it as the owner. A
   * thread may also have released the lock before it died, which is no reason to distrust the data.
   * So the word is read again after the state of the thread.
   */
  diedOwning(id: number, words: Int32Array, at: number, value: number): boolean {
    if ((Atomics.load(this.#words, this.#slot(id) + STATE) & STATE_MASK) !== DEAD) return false;
    if (this.isOnlooker(id)) return false; // its lock is broken before it is buried
    return Atomics.load(words, at) === value;
  }

  /** Makes `id` an onlooker. Precondition: no other thread knows the id yet. */
  becomeOnlooker(id: number): void {
    this.#words[this.#slot(id) + LOOKS] = 1;
  }

  isOnlooker(id: number): boolean {
    return this.#words[this.#slot(id) + LOOKS] === 1;
  }

  /**
   * Declares a thread dead. Returns true for exactly one caller, which has to clean up after the
   * thread. If `seen` is given, only that life of the slot is declared dead.
   */
  declareDead(id: number, seen?: number): boolean {
    if (id < 0 || id >= THREADS_MAX) return false;
    const at = this.#slot(id) + STATE;
    const life = seen ?? Atomics.load(this.#words, at);
    if ((life & STATE_MASK) !== LIVE) return false;
    return Atomics.compareExchange(this.#words, at, life, (life & ~STATE_MASK) | DEAD) === life;
  }

  /** Frees the slot of a dead thread. */
  bury(id: number): void {
    const at = this.#slot(id);
    this.#words[at + HELD] = 0;
    Atomics.store(this.#words, at + GATE, 0);
    this.#vacate(at);
  }

  /** Whether the thread, which is dead, held a lock that protects a change. */
  diedWriting(id: number): boolean {
    return !this.isOnlooker(id) && (this.#words[this.#slot(id) + HELD]! & WRITING) !== 0;
  }

  /** Word index of the thread's place in the freeze gate. */
  gateWord(id: number): number {
    return this.#slot(id) + GATE;
  }

  /**
   * Asserts that `id` may take a lock of this rank. Must be called before acquiring the lock.
   * Checks nothing unless `checksOrder` is set.
   */
  assertOrder(id: number, rank: number): void {
    if (!this.checksOrder) return;
    const held = this.#words[this.#slot(id) + HELD]!;
    // The same rank or a later one. The two modes of the mmap lock exclude each other, too.
    const later = rank === RANK.MMAP_WRITE ? ~RANK.GATE : ~(rank - 1);
    assert(
      (held & later) === 0,
      `lock order: thread ${id} holds 0x${held.toString(16)} and takes 0x${rank.toString(16)}`,
    );
  }

  /**
   * Asserts that the thread may change the machine, that is, that it is inside the freeze gate. An
   * onlooker may also do so: it takes references for a dump whose coordinator is inside. Like the
   * lock order, this is asserted only if `checksOrder` is set.
   */
  assertInside(id: number, change: string): void {
    if (!this.checksOrder) return;
    assert(
      this.holds(id, RANK.GATE) || this.isOnlooker(id),
      `freeze gate: thread ${id} is outside and makes a change: ${change}`,
    );
  }

  /** Records that the thread holds a lock of this rank. Called after acquiring the lock. */
  hold(id: number, rank: number): void {
    this.#words[this.#slot(id) + HELD]! |= rank;
  }

  /** Records that the thread holds no lock of this rank. Called before releasing the lock. */
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

/** The error TOO_MANY_THREADS. */
export function tooMany(): MmdumpError {
  return new MmdumpError(
    'TOO_MANY_THREADS',
    `all ${THREADS_MAX} thread slots of the machine are taken: detach threads that are done with it`,
  );
}
