/**
 * A fair readers-writer lock over shared memory. Threads take it in the order of their arrival;
 * readers hold it together.
 *
 * It is Lamport's bakery with two modes. Each thread has an entry of its own (`rw-lock-layout.ts`),
 * which no other thread writes while it lives. The other words are changed by single atomic
 * additions. So a dying thread leaves nothing half-changed: its entry is set to 0, and the others
 * go on.
 *
 * A thread's turn has come when no other entry of a conflicting mode (a) is CHOOSING, (b) is HELD,
 * or (c) waits with an earlier ticket. Two readers never conflict, not even while one of them is
 * CHOOSING: otherwise a reader that must not wait could fail because another one was descheduled at
 * that point.
 *
 * While nobody writes or is about to, a reader takes no ticket, and writes no word but its own
 * entry, so that readers share no line that all of them write:
 *
 *   0 ──▶ PRESENT | HELD ──(no bit in WRITERS)──▶ owns the lock ──▶ 0
 *                └─(a bit)──▶ 0, and then as above
 *
 * It shows its entry before it looks at WRITERS, and a writer sets its bit before it looks at the
 * entries. So at least one of the two sees the other (Dekker), and the reader queues behind the
 * writer. A bit that a dead writer has left is cleared with its entry, after the machine was
 * poisoned; so the reader looks for poison after it has looked at WRITERS.
 *
 * Mutual exclusion: let A and B conflict, with tickets a < b. Suppose that B saw no entry of A when
 * it looked. Then A stored CHOOSING later, so it took its ticket after B had its own, and a > b,
 * which is a contradiction. So B saw the entry of A, and waited. (CHOOSING closes the gap between
 * taking a ticket and showing it.) Condition (b) does not depend on tickets, so a reader may hold
 * the lock while tickets wrap round.
 *
 * No lost wake-up: a waiter increments WAITERS, reads CHANGES, looks at the entries, and then waits
 * until CHANGES differs from what it read. A thread that changes an entry changes it first and
 * reads WAITERS afterwards. If it reads 0, the waiter looks at the entries after the change.
 * WAITERS is only a hint: a dead waiter leaves it too high, which costs a notification and nothing
 * else.
 */
import { RANK } from './held-locks.ts';
import { isEarlier, RW_ENTRY, RW_LOCK } from './rw-lock-layout.ts';
import type { ThreadTable } from './thread-table.ts';
import { throwIfAborted, waitAsync, waitSync, wakeAll } from './wait.ts';

const { NEXT_TICKET, CHANGES, WAITERS, WRITERS, ENTRIES, ENTRY_WORDS } = RW_LOCK;
const { CHOOSING, PRESENT, WRITER, HELD, TICKET_SHIFT } = RW_ENTRY;
const BITS = 32;
/** How often a thread that must not wait looks again at a conflicting thread that is CHOOSING. */
const CHOOSING_SPINS = 10_000;

/** How a thread holds the lock: together with other readers, or alone. */
export type LockMode = 'read' | 'write';
/** What a dead thread was doing with the lock. */
export type Abandoned = 'nothing' | 'waiting' | 'reading' | 'writing';

/** A lock, over the words from `base` on. */
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

  /**
   * Takes the lock if its turn comes at once. Otherwise it removes its entry and returns false.
   * Throws MACHINE_POISONED.
   */
  tryLock(id: number, mode: LockMode): boolean {
    if (mode === 'read' && this.#readAtOnce(id)) return true;
    this.#prepare(id, mode);
    // Look before taking a ticket, so that a thread that polls does not use up the tickets.
    if (this.#isContended(id, mode)) return false;
    const mine = this.#announce(id, mode);
    for (let spins = 0; spins < CHOOSING_SPINS; spins++) {
      const obstacle = this.#obstacle(id, mine);
      if (obstacle === 0) {
        this.#own(id, mine);
        return true;
      }
      if (obstacle !== CHOOSING) break; // else it is not known yet which of the two is first
    }
    this.#retreat(id, mode);
    return false;
  }

  /** Takes the lock. Blocks the thread until its turn has come. Throws MACHINE_POISONED. */
  lock(id: number, mode: LockMode): void {
    if (mode === 'read' && this.#readAtOnce(id)) return;
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
        this.#threads.assertTrusted(); // after reading CHANGES, which changes after poisoning
        if (this.#obstacle(id, mine) === 0) break;
        const isTold = waitSync(words, this.#base + CHANGES, seen);
        if (!isTold) this.#threads.lookAround();
      }
      this.#own(id, mine);
    } catch (error) {
      this.#retreat(id, mode);
      throw error;
    } finally {
      Atomics.sub(words, this.#base + WAITERS, 1);
    }
  }

  /**
   * Takes the lock once its turn has come, without blocking the thread. Rejects with AbortError
   * when `signal` fires, or with MACHINE_POISONED.
   */
  async lockAsync(id: number, mode: LockMode, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (mode === 'read' && this.#readAtOnce(id)) return;
    this.#prepare(id, mode);
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
      this.#retreat(id, mode);
      throw error;
    } finally {
      Atomics.sub(words, this.#base + WAITERS, 1);
    }
  }

  /** Releases the lock. */
  unlock(id: number): void {
    const at = this.#entry(id);
    const entry = this.#words[at]!;
    this.#threads.drop(id, (entry & WRITER) !== 0 ? RANK.MMAP_WRITE : RANK.MMAP_READ);
    Atomics.store(this.#words, at, 0);
    if ((entry & WRITER) !== 0) this.#clearWriter(id);
    this.#changed();
  }

  /** Whether the thread, which is dead, holds the lock for writing. */
  isWriting(id: number): boolean {
    const entry = Atomics.load(this.#words, this.#entry(id));
    return (entry & (HELD | WRITER)) === (HELD | WRITER);
  }

  /**
   * Removes the entry of a dead thread, and returns what it was doing. If it was writing, the
   * caller must have poisoned the machine before.
   */
  abandon(id: number): Abandoned {
    const entry = Atomics.exchange(this.#words, this.#entry(id), 0);
    this.#clearWriter(id);
    wakeAll(this.#words, this.#base + CHANGES);
    if (entry === 0) return 'nothing';
    if ((entry & HELD) === 0) return 'waiting';
    return (entry & WRITER) !== 0 ? 'writing' : 'reading';
  }

  /** Makes all waiters look again, after the machine was poisoned. */
  wakeAll(): void {
    wakeAll(this.#words, this.#base + CHANGES);
  }

  /** How many threads hold the lock now, for assertions and tests. */
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

  /** Takes the lock for reading if nobody writes or is about to, and returns whether it did. */
  #readAtOnce(id: number): boolean {
    this.#threads.assertOrder(id, RANK.MMAP_READ);
    Atomics.store(this.#words, this.#entry(id), PRESENT | HELD);
    if (!this.#anyWriter && !this.#threads.isPoisoned) {
      this.#threads.hold(id, RANK.MMAP_READ);
      return true;
    }
    this.#retreat(id, 'read'); // a writer may have seen the entry
    return false;
  }

  get #anyWriter(): boolean {
    const count = this.#threads.highWater;
    for (let id = 0, at = this.#base + WRITERS; id < count; id += BITS, at++) {
      if (Atomics.load(this.#words, at) !== 0) return true;
    }
    return false;
  }

  #clearWriter(id: number): void {
    Atomics.and(this.#words, this.#base + WRITERS + Math.floor(id / BITS), ~(1 << (id % BITS)));
  }

  #announce(id: number, mode: LockMode): number {
    const words = this.#words;
    const at = this.#entry(id);
    const writer = mode === 'write' ? WRITER : 0;
    if (writer !== 0) {
      Atomics.or(words, this.#base + WRITERS + Math.floor(id / BITS), 1 << (id % BITS));
    }
    Atomics.store(words, at, CHOOSING | writer);
    const ticket = Atomics.add(words, this.#base + NEXT_TICKET, 1);
    const mine = (ticket << TICKET_SHIFT) | PRESENT | writer;
    Atomics.store(words, at, mine);
    this.#changed();
    return mine;
  }

  /** 0 if the turn of `mine` has come. Else CHOOSING, or an entry that is in the way. */
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

  /** Whether a thread that is here already excludes a newcomer of this mode. */
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
   * Marks the lock as held. Either the turn has come, or the entry that was in the way belonged to
   * a dead writer. In the second case the machine was poisoned before the entry was removed
   * (`mmu/mm/thread-gone.ts`), so the check here sees it.
   */
  #own(id: number, mine: number): void {
    if (this.#threads.isPoisoned) {
      this.#retreat(id, (mine & WRITER) !== 0 ? 'write' : 'read');
      this.#threads.assertTrusted();
    }
    Atomics.store(this.#words, this.#entry(id), mine | HELD);
    this.#threads.hold(id, (mine & WRITER) !== 0 ? RANK.MMAP_WRITE : RANK.MMAP_READ);
  }

  #retreat(id: number, mode: LockMode): void {
    Atomics.store(this.#words, this.#entry(id), 0);
    if (mode === 'write') this.#clearWriter(id);
    this.#changed();
  }

  #changed(): void {
    if (Atomics.load(this.#words, this.#base + WAITERS) === 0) return;
    wakeAll(this.#words, this.#base + CHANGES);
  }
}

function rankOf(mode: LockMode): number {
  return mode === 'write' ? RANK.MMAP_WRITE : RANK.MMAP_READ;
}
