/**
 * A fair readers-writer lock over shared memory: first come, first served, readers together.
 *
 * It is Lamport's bakery with two modes. Every thread has an entry of its own that nobody else
 * writes while it lives; there is no word that two threads fight over, so there is nothing that a
 * dying thread can leave half-changed: its entry is zeroed and the others go on.
 *
 * Entry of a thread:
 *
 *   0 ──▶ CHOOSING | mode ──▶ ticket | PRESENT | mode ──▶ … | HELD ──▶ 0
 *         (takes a ticket)    (waits its turn)            (owns the lock)
 *            any ──(its own timeout, abort or retreat; `abandon` once it is dead)──▶ 0
 *
 * A thread's turn has come when no other entry of a conflicting mode (a) is CHOOSING, (b) HOLDS the
 * lock, or (c) waits with an earlier ticket. Two readers never conflict, whatever they are doing: a
 * reader that the system has put aside while it was choosing must not make a reader wait that may not.
 *
 * Why two conflicting threads A and B, tickets a < b, never both pass: if B saw no entry of A when
 * it looked, A's CHOOSING came later, hence A took its ticket after B had its own, and a > b.
 * (CHOOSING closes the gap between taking a ticket and showing it.) (b) does not depend on
 * tickets, so a reader may hold the lock while tickets wrap round.
 *
 * Why no wake-up is lost: a waiter counts itself in WAITERS, reads CHANGES, looks at the entries,
 * then waits for CHANGES to differ. Whoever changes an entry changes it first, then reads WAITERS;
 * if it reads 0, the waiter's look came after the change. WAITERS is only a hint: a dead waiter
 * leaves it too high, which costs a notification, no more.
 */
import { MmdumpError } from '../errors.ts';
import { THREADS_MAX } from './thread-layout.ts';
import { RANK, type ThreadTable } from './thread-table.ts';
import { throwIfAborted, waitAsync, waitSync, wakeAll } from './wait.ts';

export const RW_LOCK = {
  NEXT_TICKET: 0, // Atomics only
  CHANGES: 1, //     waited on; counts changes that somebody may wait for; Atomics only
  WAITERS: 2, //     at least the number of waiting threads; Atomics only
  ENTRIES: 16, //    one entry a thread, ENTRY_WORDS apart
  ENTRY_WORDS: 16, // 64 bytes
} as const;

const { NEXT_TICKET, CHANGES, WAITERS, ENTRIES, ENTRY_WORDS } = RW_LOCK;

export const RW_LOCK_WORDS: number = ENTRIES + THREADS_MAX * ENTRY_WORDS;

const CHOOSING = 1;
const PRESENT = 2;
const WRITER = 4;
const HELD = 8;
const TICKET_SHIFT = 4; // 28 bits of ticket above
/** How often a thread that must not wait looks again at an opponent that is choosing its ticket. */
const CHOOSING_SPINS = 10_000;

export type LockMode = 'read' | 'write';
export type Abandoned = 'nothing' | 'waiting' | 'reading' | 'writing';

export class RwLock {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #threads: ThreadTable;

  constructor(words: Int32Array, base: number, threads: ThreadTable) {
    this.#words = words;
    this.#base = base;
    this.#threads = threads;
  }

  #entry(id: number): number {
    return this.#base + ENTRIES + id * ENTRY_WORDS;
  }

  /** Takes the lock if its turn comes at once; otherwise leaves no trace and returns false. */
  tryLock(id: number, mode: LockMode): boolean {
    this.#prepare(id, mode);
    // A look before taking a ticket, so that a thread that polls cannot use up the tickets.
    if (this.#isContended(id, mode)) return false;
    const mine = this.#announce(id, mode);
    for (let spins = 0; spins < CHOOSING_SPINS; spins++) {
      const obstacle = this.#obstacle(id, mine);
      if (obstacle === 0) {
        this.#own(id, mine);
        return true;
      }
      if (obstacle !== CHOOSING) break; // else it is not known yet which of the two comes first
    }
    this.#retreat(id);
    return false;
  }

  /** Waits its turn, blocking the thread. */
  lock(id: number, mode: LockMode): void {
    this.#prepare(id, mode);
    const words = this.#words;
    const mine = this.#announce(id, mode);
    if (this.#obstacle(id, mine) === 0) {
      this.#own(id, mine);
      return;
    }
    Atomics.add(words, this.#base + WAITERS, 1);
    try {
      for (;;) {
        const seen = Atomics.load(words, this.#base + CHANGES);
        this.#threads.assertTrusted(); // after CHANGES was read: whoever poisons changes it next
        if (this.#obstacle(id, mine) === 0) break;
        const isTold = waitSync(words, this.#base + CHANGES, seen);
        if (!isTold) this.#threads.lookAround();
      }
      this.#own(id, mine);
    } catch (error) {
      this.#retreat(id);
      throw error;
    } finally {
      Atomics.sub(words, this.#base + WAITERS, 1);
    }
  }

  /** Waits its turn without blocking the thread. Rejects with AbortError when `signal` fires. */
  async lockAsync(id: number, mode: LockMode, signal?: AbortSignal): Promise<void> {
    this.#prepare(id, mode);
    throwIfAborted(signal);
    const words = this.#words;
    const mine = this.#announce(id, mode);
    Atomics.add(words, this.#base + WAITERS, 1);
    try {
      for (;;) {
        const seen = Atomics.load(words, this.#base + CHANGES);
        this.#threads.assertTrusted();
        if (this.#obstacle(id, mine) === 0) break;
        const isTold = await waitAsync(words, this.#base + CHANGES, seen, signal);
        if (!isTold) this.#threads.lookAround();
      }
      this.#own(id, mine);
    } catch (error) {
      this.#retreat(id);
      throw error;
    } finally {
      Atomics.sub(words, this.#base + WAITERS, 1);
    }
  }

  unlock(id: number): void {
    const at = this.#entry(id);
    const entry = this.#words[at]!;
    this.#threads.drop(id, (entry & WRITER) !== 0 ? RANK.MMAP_WRITE : RANK.MMAP_READ);
    Atomics.store(this.#words, at, 0);
    this.#changed();
  }

  /** Whether the (dead) thread holds the lock for writing. */
  isWriting(id: number): boolean {
    const entry = Atomics.load(this.#words, this.#entry(id));
    return (entry & (HELD | WRITER)) === (HELD | WRITER);
  }

  /** Removes a dead thread's entry and says what it was doing. Poison first, if it was writing. */
  abandon(id: number): Abandoned {
    const entry = Atomics.exchange(this.#words, this.#entry(id), 0);
    wakeAll(this.#words, this.#base + CHANGES);
    if (entry === 0) return 'nothing';
    if ((entry & HELD) === 0) return 'waiting';
    return (entry & WRITER) !== 0 ? 'writing' : 'reading';
  }

  /** Makes every waiter look again; used when the machine has been poisoned. */
  wakeAll(): void {
    wakeAll(this.#words, this.#base + CHANGES);
  }

  /** Who holds the lock now, for assertions and tests. */
  holders(): { readonly readers: number; readonly writers: number } {
    let readers = 0;
    let writers = 0;
    for (let id = 0; id < this.#threads.highWater; id++) {
      const entry = Atomics.load(this.#words, this.#entry(id));
      if ((entry & HELD) === 0) continue;
      if ((entry & WRITER) !== 0) writers++;
      else readers++;
    }
    return { readers, writers };
  }

  #prepare(id: number, mode: LockMode): void {
    this.#threads.assertTrusted();
    this.#threads.assertOrder(id, rankOf(mode));
  }

  #announce(id: number, mode: LockMode): number {
    const words = this.#words;
    const at = this.#entry(id);
    const writer = mode === 'write' ? WRITER : 0;
    Atomics.store(words, at, CHOOSING | writer);
    const ticket = Atomics.add(words, this.#base + NEXT_TICKET, 1);
    const mine = (ticket << TICKET_SHIFT) | PRESENT | writer;
    Atomics.store(words, at, mine);
    this.#changed();
    return mine;
  }

  /** 0 when the turn of `mine` has come, CHOOSING, or an entry that stands in its way. */
  #obstacle(id: number, mine: number): number {
    const words = this.#words;
    const first = this.#base + ENTRIES;
    const count = this.#threads.highWater;
    let choosing = 0;
    for (let other = 0; other < count; other++) {
      const entry = Atomics.load(words, first + other * ENTRY_WORDS);
      if (entry === 0 || other === id || ((entry | mine) & WRITER) === 0) continue;
      if ((entry & CHOOSING) !== 0) {
        choosing = CHOOSING;
        continue;
      }
      if ((entry & HELD) !== 0 || isEarlier(entry, mine)) return entry;
    }
    return choosing;
  }

  /** Whether anybody who is here already excludes a newcomer of this mode. */
  #isContended(id: number, mode: LockMode): boolean {
    const first = this.#base + ENTRIES;
    const count = this.#threads.highWater;
    for (let other = 0; other < count; other++) {
      const entry = Atomics.load(this.#words, first + other * ENTRY_WORDS);
      if (entry === 0 || (entry & CHOOSING) !== 0 || other === id) continue;
      if (mode === 'write' || (entry & WRITER) !== 0) return true;
    }
    return false;
  }

  /**
   * The turn has come, or nobody is in the way because a writer died: the machine is poisoned before
   * its entry is taken away (`thread-gone.ts`), so this look cannot miss it.
   */
  #own(id: number, mine: number): void {
    if (this.#threads.isPoisoned) {
      this.#retreat(id);
      this.#threads.assertTrusted();
    }
    Atomics.store(this.#words, this.#entry(id), mine | HELD);
    this.#threads.hold(id, (mine & WRITER) !== 0 ? RANK.MMAP_WRITE : RANK.MMAP_READ);
  }

  #retreat(id: number): void {
    Atomics.store(this.#words, this.#entry(id), 0);
    this.#changed();
  }

  #changed(): void {
    if (Atomics.load(this.#words, this.#base + WAITERS) === 0) return;
    wakeAll(this.#words, this.#base + CHANGES);
  }
}

function isEarlier(entry: number, mine: number): boolean {
  return ((entry & ~0xf) - (mine & ~0xf)) >> TICKET_SHIFT < 0;
}

function rankOf(mode: LockMode): number {
  return mode === 'write' ? RANK.MMAP_WRITE : RANK.MMAP_READ;
}

/** What an operation throws on a thread that must not wait. */
export function wouldBlock(what: string): MmdumpError {
  return new MmdumpError(
    'EAGAIN',
    `${what} is held by another thread, and this thread must not wait: use the Async form`,
  );
}
