/**
 * A mutex on which threads sleep. It is for sections that may take long, such as a snapshot of the
 * LDT or reading a page of a file.
 *
 *   0 ──compare-exchange──▶ owner ──exchange──▶ 0
 *                            │  ▲
 *              a waiter sets │  │ (the owner is the same)
 *                 CONTENDED  ▼  │
 *                     owner | CONTENDED ──exchange──▶ 0, all waiters are woken
 *
 * `owner` is the thread id + 1. All waiters are woken, not only one, because a single one might die
 * before it takes the lock. If the owner dies, the machine is poisoned and POKED is set. The lock
 * of a dead onlooker is broken instead.
 */

import type { ThreadTable } from './thread-table.ts';
import { DIED_WRITING } from './trust.ts';
import { waitAsync, waitSync } from './wait.ts';
import { wouldBlock } from './would-block.ts';

const CONTENDED = 0x4000_0000;
/** Set after poisoning, so that no thread goes to sleep on a value that looks unchanged. */
const POKED = 0x2000_0000;
const OWNER = 0x1fff_ffff;

/** A mutex, in word `at`. `name` is for messages. */
export class Mutex {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #rank: number;
  readonly #threads: ThreadTable;
  readonly #name: string;

  constructor(words: Int32Array, at: number, rank: number, threads: ThreadTable, name: string) {
    this.#words = words;
    this.#at = at;
    this.#rank = rank;
    this.#threads = threads;
    this.#name = name;
  }

  /**
   * Takes the mutex. Blocks the thread until it is free; throws EAGAIN instead if the thread must
   * not block. Throws MACHINE_POISONED.
   */
  lock(id: number, mayBlock: boolean): void {
    this.#threads.assertOrder(id, this.#rank);
    let mine = id + 1;
    while (Atomics.compareExchange(this.#words, this.#at, 0, mine) !== 0) {
      if (!mayBlock) throw wouldBlock(this.#name);
      const seen = this.#markContended();
      const isTold = seen === 0 || waitSync(this.#words, this.#at, seen);
      if (!isTold) this.#threads.lookAround();
      this.#threads.assertTrusted();
      mine = (id + 1) | CONTENDED; // others may still be waiting
    }
    this.#threads.hold(id, this.#rank);
  }

  /** Takes the mutex if it is free, and returns whether it did. Throws MACHINE_POISONED. */
  tryLock(id: number): boolean {
    this.#threads.assertTrusted();
    this.#threads.assertOrder(id, this.#rank);
    if (Atomics.compareExchange(this.#words, this.#at, 0, id + 1) !== 0) return false;
    this.#threads.hold(id, this.#rank);
    return true;
  }

  /**
   * Takes the mutex once it is free, without blocking the thread. Rejects with AbortError when
   * `signal` fires, or with MACHINE_POISONED.
   */
  async lockAsync(id: number, signal?: AbortSignal): Promise<void> {
    this.#threads.assertOrder(id, this.#rank);
    let mine = id + 1;
    while (Atomics.compareExchange(this.#words, this.#at, 0, mine) !== 0) {
      const seen = this.#markContended();
      const isTold = seen === 0 || (await waitAsync(this.#words, this.#at, seen, signal));
      if (!isTold) this.#threads.lookAround();
      this.#threads.assertTrusted();
      mine = (id + 1) | CONTENDED;
    }
    this.#threads.hold(id, this.#rank);
  }

  /** Releases the mutex. */
  unlock(id: number): void {
    this.#threads.drop(id, this.#rank);
    const seen = Atomics.exchange(this.#words, this.#at, 0);
    if ((seen & CONTENDED) !== 0) Atomics.notify(this.#words, this.#at);
  }

  /** Releases the mutex for a dead onlooker, if the onlooker holds it, and wakes all waiters. */
  breakFor(id: number): void {
    const seen = Atomics.load(this.#words, this.#at);
    if ((seen & OWNER) !== id + 1) return;
    Atomics.exchange(this.#words, this.#at, 0);
    Atomics.notify(this.#words, this.#at);
  }

  /** Thread id of the owner, or -1 if the mutex is free. */
  get owner(): number {
    return (Atomics.load(this.#words, this.#at) & OWNER) - 1;
  }

  /** Makes all waiters look again, after a thread died or the machine was poisoned. */
  wakeAll(): void {
    if (this.#threads.isPoisoned) Atomics.or(this.#words, this.#at, POKED);
    Atomics.notify(this.#words, this.#at);
  }

  /**
   * Sets CONTENDED on a mutex that is held, and returns the value to wait on. Returns 0 if there is
   * nothing to wait for.
   */
  #markContended(): number {
    for (;;) {
      const seen = Atomics.load(this.#words, this.#at);
      if (seen === 0 || (seen & POKED) !== 0) return 0;
      const owner = (seen & OWNER) - 1;
      if (this.#threads.diedOwning(owner, this.#words, this.#at, seen)) {
        this.#threads.poison(DIED_WRITING, owner);
        return 0;
      }
      const marked = seen | CONTENDED;
      if (Atomics.compareExchange(this.#words, this.#at, seen, marked) === seen) return marked;
    }
  }
}
