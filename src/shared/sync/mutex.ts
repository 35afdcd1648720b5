/**
 * A mutex that sleeps: for sections that may last (a snapshot of the LDT, reading a file's page).
 *
 *   0 ──compare-exchange──▶ owner ──exchange──▶ 0
 *                            │  ▲
 *              a waiter sets │  │ (the owner is the same)
 *                 CONTENDED  ▼  │
 *                     owner | CONTENDED ──exchange──▶ 0, everybody is woken
 *
 * `owner` is the thread id + 1. All waiters are woken, not one: the one that was chosen might die
 * before it takes the lock. A dead owner poisons the machine, and POKED is set then.
 */
import { wouldBlock } from './rw-lock.ts';
import type { ThreadTable } from './thread-table.ts';
import { DIED_WRITING } from './trust.ts';
import { waitAsync, waitSync } from './wait.ts';

const CONTENDED = 0x4000_0000;
/** Set when the machine is poisoned, so that nobody falls asleep on a value that looks unchanged. */
const POKED = 0x2000_0000;
const OWNER = 0x1fff_ffff;

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

  /** Blocks until the mutex is taken; on a thread that must not wait, throws EAGAIN instead. */
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

  /** Takes the mutex if it is free. */
  tryLock(id: number): boolean {
    this.#threads.assertTrusted();
    this.#threads.assertOrder(id, this.#rank);
    if (Atomics.compareExchange(this.#words, this.#at, 0, id + 1) !== 0) return false;
    this.#threads.hold(id, this.#rank);
    return true;
  }

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

  unlock(id: number): void {
    this.#threads.drop(id, this.#rank);
    const seen = Atomics.exchange(this.#words, this.#at, 0);
    if ((seen & CONTENDED) !== 0) Atomics.notify(this.#words, this.#at);
  }

  /** Takes the mutex away from a dead onlooker, if it has it, and wakes whoever waits. */
  breakFor(id: number): void {
    const seen = Atomics.load(this.#words, this.#at);
    if ((seen & OWNER) !== id + 1) return;
    Atomics.exchange(this.#words, this.#at, 0);
    Atomics.notify(this.#words, this.#at);
  }

  /** Thread id of the owner, or -1. */
  get owner(): number {
    return (Atomics.load(this.#words, this.#at) & OWNER) - 1;
  }

  /** Makes every waiter look again: a thread is gone, or the machine has been poisoned. */
  wakeAll(): void {
    if (this.#threads.isPoisoned) Atomics.or(this.#words, this.#at, POKED);
    Atomics.notify(this.#words, this.#at);
  }

  /** Sets CONTENDED on a held mutex; returns the value to wait on, 0 if there is none to wait for. */
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
