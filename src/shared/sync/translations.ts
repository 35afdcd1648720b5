/**
 * Who uses translations of an mm, and how they are taken away.
 *
 * A translation says in which frame a page lies. A thread uses translations without a lock while it
 * is inside the gate *by* the mm (`enter`), and it uses none before and after (`leave`). Whoever
 * takes translations away moves the epoch of the mm on, and waits for all who are inside by it:
 *
 *   user                                       revoker (holds the lock that protects the leaf)
 *   place = by the mm, with the epoch
 *   look at the epoch, and then at the gate    move the epoch on
 *   … loads and stores, plain ones …           look at all places, wait while one is by the mm
 *   place = outside   (or enter again)            and shows an earlier epoch
 *                                              change the leaf
 *
 * The user shows its place before it looks at the epoch, and the revoker moves the epoch on before
 * it looks at the places. So at least one of the two sees the other (Dekker): the revoker waits, or
 * the user learns that its translations are gone. A user that is inside looks at the epoch by a
 * plain load before each access. The memory model lets such a load lag behind, and nothing depends
 * on that it does not: a revoker waits for what the user *says*, by Atomics, after its last access.
 * The look only decides how soon the user says it.
 *
 * A user must not wait for anything while it is inside by an mm. It leaves before it takes a lock.
 *
 * A freezer moves the epochs of all who are inside on, once its bit is set. A user looks at the
 * epoch before it looks at the freezers. If it finds the gate open, the freezer has seen its place,
 * and the epoch that it read is older than what the freezer makes of it.
 */
import { FREEZE_GATE, type FreezeGate } from './freeze-gate.ts';
import { BY_MM, epochAt, MM_EPOCH, placeOf, showsEarlier } from './gate-place.ts';
import type { ThreadTable } from './thread-table.ts';
import { waitAsync, waitSync, wakeAll } from './wait.ts';

const { CHANGES, WAITERS } = FREEZE_GATE;
const { USED } = MM_EPOCH;
/** How often a revoker looks before it sleeps. A user says within a few accesses that it has seen. */
const SPINS = 2_000;

/** The users of translations in a machine, over the words of its gate. */
export class Translations {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #gate: FreezeGate;
  readonly #threads: ThreadTable;
  /** The epoch that the last `tryEnter` of this thread found. */
  seen = 0;
  /** How often this thread has moved an epoch on. */
  moves = 0;

  /** `base` is that of the gate. */
  constructor(words: Int32Array, base: number, gate: FreezeGate, threads: ThreadTable) {
    this.#words = words;
    this.#base = base;
    this.#gate = gate;
    this.#threads = threads;
  }

  /** The words in which the epochs lie. */
  get words(): Int32Array {
    return this.#words;
  }

  /** Word index of the epoch of the mm in `slot`. */
  epochWord(slot: number): number {
    return epochAt(this.#base, slot);
  }

  /**
   * Goes inside by the mm in `slot` if the gate is open, and returns true. From then on
   * translations may be used whose epoch is that of `seen`. The thread must not be inside already.
   */
  tryEnter(id: number, slot: number): boolean {
    const words = this.#words;
    const epoch = epochAt(this.#base, slot);
    const place = this.#threads.gateWord(id);
    const before = Atomics.load(words, epoch);
    Atomics.store(words, place, placeOf(slot, before));
    const now = Atomics.load(words, epoch); // before the look at the gate: see above
    if (now !== before) {
      Atomics.store(words, place, placeOf(slot, now));
      this.#wakeWaiters(); // a revoker may have seen the earlier epoch
    }
    if (this.#gate.isClosed || this.#threads.isPoisoned) {
      this.leave(id);
      return false;
    }
    this.seen = now;
    return true;
  }

  /** Goes outside. No translation may be used any more. */
  leave(id: number): void {
    Atomics.store(this.#words, this.#threads.gateWord(id), 0);
    this.#wakeWaiters();
  }

  /**
   * Called when a translation of the mm in `slot` is made, and returns its epoch. The lock is held
   * that protects the leaf.
   */
  make(slot: number): number {
    const at = epochAt(this.#base, slot);
    if (Atomics.load(this.#words, at + USED) === 0) Atomics.store(this.#words, at + USED, 1);
    return Atomics.load(this.#words, at);
  }

  /**
   * Takes away all translations of the mm in `slot`, and returns once no thread uses one. The lock
   * is held that protects the leaves: the mmap lock for writing, or that of their table. With
   * `sleeps` the thread sleeps while it waits. Otherwise it returns false if it would have to wait
   * for long; translations may still be in use then.
   */
  revoke(slot: number, sleeps: boolean): boolean {
    const words = this.#words;
    const at = epochAt(this.#base, slot);
    if (Atomics.load(words, at + USED) === 0) return true; // none was ever made
    const epoch = Atomics.add(words, at, 1) + 1;
    this.moves++;
    for (let spin = 0; spin < SPINS; spin++) if (!this.#isUsed(slot, epoch)) return true;
    if (!sleeps) return false;
    Atomics.add(words, this.#base + WAITERS, 1);
    try {
      for (;;) {
        const seen = Atomics.load(words, this.#base + CHANGES);
        this.#threads.assertTrusted();
        if (!this.#isUsed(slot, epoch)) return true;
        const isTold = waitSync(words, this.#base + CHANGES, seen);
        if (!isTold) this.#threads.lookAround();
      }
    } finally {
      Atomics.sub(words, this.#base + WAITERS, 1);
    }
  }

  /** As `revoke`, but waits without blocking. Rejects with AbortError when `signal` fires. */
  async revokeAsync(slot: number, signal?: AbortSignal): Promise<void> {
    if (this.revoke(slot, false)) return;
    const words = this.#words;
    const epoch = Atomics.load(words, epochAt(this.#base, slot));
    Atomics.add(words, this.#base + WAITERS, 1);
    try {
      for (;;) {
        const seen = Atomics.load(words, this.#base + CHANGES);
        this.#threads.assertTrusted();
        if (!this.#isUsed(slot, epoch)) return;
        const isTold = await waitAsync(words, this.#base + CHANGES, seen, signal);
        if (!isTold) this.#threads.lookAround();
      }
    } finally {
      Atomics.sub(words, this.#base + WAITERS, 1);
    }
  }

  /** Whether a thread is inside by the mm that has not seen the epoch. */
  #isUsed(slot: number, epoch: number): boolean {
    const count = this.#threads.highWater;
    for (let id = 0; id < count; id++) {
      const place = Atomics.load(this.#words, this.#threads.gateWord(id));
      if ((place & BY_MM) !== 0 && showsEarlier(place, slot, epoch)) return true;
    }
    return false;
  }

  #wakeWaiters(): void {
    const waiters = Atomics.load(this.#words, this.#base + WAITERS);
    if (waiters !== 0) wakeAll(this.#words, this.#base + CHANGES);
  }
}
