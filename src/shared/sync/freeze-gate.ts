/**
 * The freeze gate of a machine: every operation on an mm passes through it, and whoever freezes
 * closes it and waits until those inside have left. While it is closed no page table, page struct
 * or frame of the machine changes: the closed gate is what pins frames during a dump.
 *
 *   thread:   OUTSIDE ──enter (INSIDE, then no freezer's bit is set)──▶ INSIDE ──leave──▶ OUTSIDE
 *   freezer:  sets its bit, then waits until no thread is INSIDE ── … ── clears its bit
 *   closer:   sets CLOSED (`trust.ts`), then waits until no thread is INSIDE; for good
 *
 * A thread shows itself before it looks at the freezers, a freezer shows itself before it looks at
 * the threads: at least one of the two sees the other (Dekker). Several may freeze at once, each
 * with a bit of its own: to set or clear a bit twice does no harm, so a freezer that dies anywhere
 * is undone by clearing its bit. A thread must not enter twice; operations enter once, outermost.
 *
 * CHANGES counts whatever somebody may wait for: a freezer for leavers, a thread for a thaw. It is
 * read before the condition is looked at, so no change between the two is missed.
 */
import { assert } from '../assert.ts';
import { THREADS_MAX } from './thread-layout.ts';
import { RANK, type ThreadTable } from './thread-table.ts';
import { throwIfAborted, waitAsync, waitSync, wakeAll } from './wait.ts';

export const FREEZE_GATE = {
  FREEZERS: 0, // 8 words, a bit a thread that freezes or is about to; Atomics only
  CHANGES: 8, //  waited on; Atomics only
  WORDS: 16,
} as const;

const { FREEZERS, CHANGES } = FREEZE_GATE;
const BITS = 32;

assert(THREADS_MAX === (CHANGES - FREEZERS) * BITS, 'a freezer bit for every thread');

export class FreezeGate {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #threads: ThreadTable;

  /** `words` must be the words of the thread table as well: both live in one control block. */
  constructor(words: Int32Array, base: number, threads: ThreadTable) {
    this.#words = words;
    this.#base = base;
    this.#threads = threads;
  }

  /** Somebody freezes, or the machine was closed. */
  get isClosed(): boolean {
    if (this.#threads.isClosed) return true;
    const first = this.#base + FREEZERS;
    const count = this.#threads.highWater;
    for (let id = 0, at = first; id < count; id += BITS, at++) {
      if (Atomics.load(this.#words, at) !== 0) return true;
    }
    return false;
  }

  /** Enters unless the gate is closed. */
  tryEnter(id: number): boolean {
    this.#assertUsable();
    this.#threads.assertOrder(id, RANK.GATE);
    const mine = this.#threads.gateWord(id);
    Atomics.store(this.#words, mine, 1);
    if (!this.isClosed) {
      this.#threads.hold(id, RANK.GATE);
      return true;
    }
    Atomics.store(this.#words, mine, 0);
    wakeAll(this.#words, this.#base + CHANGES); // a freezer may have seen us inside
    this.#threads.assertOpen();
    return false;
  }

  /**
   * Enters, blocking the thread while the gate is closed. It tries again only once the gate looks
   * open: every failed try wakes the others, and they would wake each other without end.
   */
  enter(id: number): void {
    while (!this.tryEnter(id)) {
      for (;;) {
        const seen = Atomics.load(this.#words, this.#base + CHANGES);
        this.#assertUsable(); // after CHANGES was read: whoever poisons or closes changes it next
        if (!this.isClosed) break;
        const isTold = waitSync(this.#words, this.#base + CHANGES, seen);
        if (!isTold) this.#threads.lookAround();
      }
    }
  }

  async enterAsync(id: number, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    while (!this.tryEnter(id)) await this.whenOpen(signal);
  }

  /** Resolves once the gate looks open: for whoever has no id yet, and must not keep one idle. */
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

  leave(id: number): void {
    this.#threads.drop(id, RANK.GATE);
    Atomics.store(this.#words, this.#threads.gateWord(id), 0);
    if (this.isClosed) wakeAll(this.#words, this.#base + CHANGES);
  }

  /** Closes the gate and resolves once nobody is inside. Undone if `signal` fires before. */
  async freeze(id: number, signal?: AbortSignal): Promise<void> {
    this.#assertUsable();
    assert(!this.#threads.holds(id, RANK.GATE), 'a thread inside the gate must not freeze');
    throwIfAborted(signal);
    const before = Atomics.or(this.#words, this.#freezerWord(id), freezerBit(id));
    assert((before & freezerBit(id)) === 0, `thread ${id} freezes twice`);
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
    }
  }

  thaw(id: number): void {
    Atomics.and(this.#words, this.#freezerWord(id), ~freezerBit(id));
    this.wakeAll();
  }

  /** Gives back the place and the freeze of a dead thread. */
  abandon(id: number): void {
    Atomics.store(this.#words, this.#threads.gateWord(id), 0);
    this.thaw(id);
  }

  /** Closes the gate for good: nobody enters or freezes any more. Those inside leave when they are done. */
  shut(): void {
    this.#threads.close();
    this.wakeAll();
  }

  /** Resolves once nobody is inside a gate that was shut. */
  async whenEmpty(): Promise<void> {
    for (;;) {
      const seen = Atomics.load(this.#words, this.#base + CHANGES);
      if (!this.anyInside) return;
      const isTold = await waitAsync(this.#words, this.#base + CHANGES, seen);
      if (!isTold) this.#threads.lookAround();
    }
  }

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
