/**
 * A spin lock in one word: 0, or the thread id of the owner + 1. It is for sections of a few
 * hundred instructions at most.
 *
 *   0 ──compare-exchange──▶ id + 1 ──store──▶ 0
 *
 * A release is plain writes, then one Atomics.store. A thread poisons the machine if it finds that
 * the owner of the lock is dead, or that the lock is held for longer than any operation takes. The
 * data behind the lock may be half-changed then, and waiting for it would never end. Only time in
 * which this thread looked at the lock counts.
 */
import { Patience } from './patience.ts';
import type { ThreadTable } from './thread-table.ts';
import { DIED_WRITING, LOCKED_UP } from './trust.ts';

const SPINS_PER_LOOK = 2_000;
/** Milliseconds until the machine is poisoned. An owner is descheduled for a few at worst. */
const LOCKUP_MS = 20_000;
/** The most milliseconds that one look counts. A look and a yield each take microseconds. */
const LOOK_MS = 10;

/**
 * Takes the lock in `words[at]`. While it waits it yields the processor if `mayBlock` is set.
 * Throws MACHINE_POISONED.
 */
export function spinLock(
  words: Int32Array,
  at: number,
  id: number,
  rank: number,
  threads: ThreadTable,
  mayBlock: boolean,
): void {
  threads.assertOrder(id, rank);
  if (Atomics.compareExchange(words, at, 0, id + 1) !== 0) {
    spinContended(words, at, id, threads, mayBlock);
  }
  threads.hold(id, rank);
}

/** Releases the lock. */
export function spinUnlock(
  words: Int32Array,
  at: number,
  id: number,
  rank: number,
  threads: ThreadTable,
): void {
  threads.drop(id, rank);
  Atomics.store(words, at, 0);
}

function spinContended(
  words: Int32Array,
  at: number,
  id: number,
  threads: ThreadTable,
  mayBlock: boolean,
): void {
  const patience = new Patience(LOCKUP_MS, LOOK_MS);
  for (;;) {
    for (let spin = 0; spin < SPINS_PER_LOOK; spin++) {
      if (Atomics.load(words, at) !== 0) continue;
      if (Atomics.compareExchange(words, at, 0, id + 1) === 0) return;
    }
    threads.assertTrusted();
    threads.lookAround();
    const owner = Atomics.load(words, at) - 1;
    if (owner >= 0 && threads.diedOwning(owner, words, at, owner + 1)) {
      threads.poison(DIED_WRITING, owner);
    } else if (patience.isOver()) threads.poison(LOCKED_UP, owner);
    else if (mayBlock && owner >= 0) yieldProcessor(words, at, owner + 1);
  }
}

/**
 * Lets the owner run, which may need this very core. The wait times out: nobody notifies a spin
 * lock.
 */
function yieldProcessor(words: Int32Array, at: number, seen: number): void {
  Atomics.wait(words, at, seen, 0.05);
}
