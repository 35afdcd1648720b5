/**
 * The freeze gate of a machine. Every change of the machine, and every operation on an mm, passes
 * it. A freezer closes the gate and waits until all threads have left. While the gate is closed, no
 * page table, page struct or frame of the machine changes. This is what pins the frames during a
 * dump of a frozen machine.
 *
 *   thread:   OUTSIDE ──enter (INSIDE, then no freezer's bit is set)──▶ INSIDE ──leave──▶ OUTSIDE
 *   freezer:  sets its bit, then waits until no thread is INSIDE ── … ── clears its bit
 *   closer:   sets CLOSED (`trust.ts`), then waits until no thread is INSIDE; for good
 *
 * A thread marks itself as INSIDE before it looks at the freezers, and a freezer sets its bit
 * before it looks at the threads. So at least one of the two sees the other (Dekker). Several
 * threads may freeze at the same time, each with a bit of its own. Setting or clearing a bit twice
 * does no harm, so if a freezer dies at any point, clearing its bit undoes what it did. A thread
 * must not enter twice: only the outermost operation enters.
 *
 * A thread may also be inside by an mm, to use translations of it (`translations.ts`). A freezer or
 * closer moves the epoch of that mm on, and the thread leaves at its next access.
 *
 * WAITERS counts those that wait for a thread to leave, before they look whether it has. A thread
 * looks at it after it has left. So one of the two sees the other.
 *
 * CHANGES counts the events that somebody may wait for: a thread that leaves, and a thaw. A waiter
 * reads it before it looks at its condition, so it misses no change in between.
 */
import { assert } from '../assert.ts';
import {
  BY_MM,
  EPOCHS_AT,
  epochAt,
  MM_EPOCH,
  MM_SLOTS_MAX,
  slotOf,
  WITH_OPERATION,
} from './gate-place.ts';
import { RANK } from './held-locks.ts';
import { THREADS_MAX } from './thread-layout.ts';
import type { ThreadTable } from './thread-table.ts';
import { throwIfAborted, waitAsync, waitSync, wakeAll } from './wait.ts';

/** The words of the gate. */
export const FREEZE_GATE = {
  FREEZERS: 0, // 8 words, one bit per thread that freezes or is about to; Atomics only
  CHANGES: 8, //  waited on; counts what somebody may wait for; Atomics only
  WAITERS: 9, //  at least the number of those that wait for a thread to leave; Atomics only
  WORDS: 16, //   the epochs of the mms follow
} as const;

const { FREEZERS, CHANGES, WAITERS } = FREEZE_GATE;
/** Words of a gate with the epochs of all mms. */
export const FREEZE_GATE_WORDS: number = FREEZE_GATE.WORDS + MM_SLOTS_MAX * MM_EPOCH.WORDS;
const BITS = 32;

assert(FREEZE_GATE.WORDS === EPOCHS_AT, 'the epochs follow the words of the gate');
assert(THREADS_MAX === (CHANGES - FREEZERS) * BITS, 'a freezer bit for every thread');

/** The gate of a machine, over the words from `base` on. */
export class FreezeGate {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #threads: ThreadTable;

  /** `words` must be those of the thread table, too: both lie in one control block. */
  constructor(words: Int32Array, base: number, threads: ThreadTable) {
    this.#words = words;
    this.#base = base;
    this.#threads = threads;
  }

  /** Whether some thread freezes the machine, or the machine was closed. */
  get isClosed(): boolean {
    if (this.#threads.isClosed) return true;
    const first = this.#base + FREEZERS;
    const count = this.#threads.highWater;
    for (let id = 0, at = first; id < count; id += BITS, at++) {
      if (Atomics.load(this.#words, at) !== 0) return true;
    }
    return false;
  }

  /**
   * Enters if the gate is open, and returns whether it did. Throws MACHINE_CLOSED or
   * MACHINE_POISONED.
   */
  tryEnter(id: number): boolean {
    this.#assertUsable();
    this.#threads.assertOrder(id, RANK.GATE);
    const mine = this.#threads.gateWord(id);
    Atomics.store(this.#words, mine, WITH_OPERATION);
    if (!this.isClosed) {
      this.#threads.hold(id, RANK.GATE);
      return true;
    }
    Atomics.store(this.#words, mine, 0);
    wakeAll(this.#words, this.#base + CHANGES); // a freezer may have seen this thread inside
    this.#threads.assertOpen();
    return false;
  }

  /**
   * Enters, and blocks the thread while the gate is closed. It tries again only when the gate looks
   * open. Every failed attempt wakes the other waiters, and if they tried again at once, they would
   * wake each other without end. Throws MACHINE_CLOSED or MACHINE_POISONED.
   */
  enter(id: number): void {
    while (!this.tryEnter(id)) {
      for (;;) {
        const seen = Atomics.load(this.#words, this.#base + CHANGES);
        this.#assertUsable(); // after reading CHANGES, which changes after poisoning and closing
        if (!this.isClosed) break;
        const isTold = waitSync(this.#words, this.#base + CHANGES, seen);
        if (!isTold) this.#threads.lookAround();
      }
    }
  }

  /**
   * The asynchronous form of `enter`, which does not block the thread. Rejects with AbortError,
   * too.
   */
  async enterAsync(id: number, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    while (!this.tryEnter(id)) await this.whenOpen(signal);
  }

  /**
   * Resolves once the gate looks open. An operation waits here while it has no id yet, because it
   * must not keep an id that it cannot use. Rejects with AbortError, MACHINE_CLOSED or
   * MACHINE_POISONED.
   */
  async whenOpen(signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    for (;;) {
      const seen = Atomics.load(this.#words, this.#base + CHANGES);
      this.#assertUsable();
      if (!this.isClosed) return;
      const isTold = await waitAsync(this.#words, this.#base + CHANGES, seen, signal);
      if (!isTold) this.#threads.lookAround();
    }
  }

  /** Leaves the gate. */
  leave(id: number): void {
    this.#threads.drop(id, RANK.GATE);
    Atomics.store(this.#words, this.#threads.gateWord(id), 0);
    const waiters = Atomics.load(this.#words, this.#base + WAITERS);
    if (waiters !== 0) wakeAll(this.#words, this.#base + CHANGES);
  }

  /**
   * Closes the gate, and resolves once no thread is inside. Rejects with AbortError, MACHINE_CLOSED
   * or MACHINE_POISONED, and then this freeze is undone. Precondition: the thread is not inside.
   */
  async freeze(id: number, signal?: AbortSignal): Promise<void> {
    this.#assertUsable();
    assert(!this.#threads.holds(id, RANK.GATE), 'a thread inside the gate must not freeze');
    throwIfAborted(signal);
    const before = Atomics.or(this.#words, this.#freezerWord(id), freezerBit(id));
    assert((before & freezerBit(id)) === 0, `thread ${id} freezes twice`);
    this.#tellUsers();
    Atomics.add(this.#words, this.#base + WAITERS, 1);
    try {
      for (;;) {
        const seen = Atomics.load(this.#words, this.#base + CHANGES);
        this.#assertUsable();
        if (!this.anyInside) return;
        const isTold = await waitAsync(this.#words, this.#base + CHANGES, seen, signal);
        if (!isTold) this.#threads.lookAround();
      }
    } catch (error) {
      this.thaw(id);
      throw error;
    } finally {
      Atomics.sub(this.#words, this.#base + WAITERS, 1);
    }
  }

  /** Ends the freeze of a thread. */
  thaw(id: number): void {
    Atomics.and(this.#words, this.#freezerWord(id), ~freezerBit(id));
    this.wakeAll();
  }

  /** Ends the freeze of a dead thread, and removes it from inside the gate. */
  abandon(id: number): void {
    Atomics.store(this.#words, this.#threads.gateWord(id), 0);
    this.thaw(id);
  }

  /**
   * Closes the gate for good: no thread enters or freezes any more. Threads that are inside leave
   * when they are done.
   */
  shut(): void {
    this.#threads.close();
    this.#tellUsers();
    this.wakeAll();
  }

  /** Resolves once no thread is inside. Precondition: the gate was shut. */
  async whenEmpty(): Promise<void> {
    Atomics.add(this.#words, this.#base + WAITERS, 1);
    try {
      for (;;) {
        const seen = Atomics.load(this.#words, this.#base + CHANGES);
        if (!this.anyInside) return;
        const isTold = await waitAsync(this.#words, this.#base + CHANGES, seen);
        if (!isTold) this.#threads.lookAround();
      }
    } finally {
      Atomics.sub(this.#words, this.#base + WAITERS, 1);
    }
  }

  /**
   * Moves the epochs on of the mms by which threads are inside, so that these threads leave. Called
   * after the gate was closed: who comes later finds it closed.
   */
  #tellUsers(): void {
    const count = this.#threads.highWater;
    for (let id = 0; id < count; id++) {
      const place = Atomics.load(this.#words, this.#threads.gateWord(id));
      if ((place & BY_MM) !== 0) Atomics.add(this.#words, epochAt(this.#base, slotOf(place)), 1);
    }
  }

  /** Makes all waiters look again. */
  wakeAll(): void {
    wakeAll(this.#words, this.#base + CHANGES);
  }

  #assertUsable(): void {
    this.#threads.assertOpen();
    this.#threads.assertTrusted();
  }

  #freezerWord(id: number): number {
    return this.#base + FREEZERS + Math.floor(id / BITS);
  }

  /** Whether some thread is inside. */
  get anyInside(): boolean {
    const count = this.#threads.highWater;
    for (let id = 0; id < count; id++) {
      if (Atomics.load(this.#words, this.#threads.gateWord(id)) !== 0) return true;
    }
    return false;
  }
}

function freezerBit(id: number): number {
  return 1 << (id % BITS);
}
