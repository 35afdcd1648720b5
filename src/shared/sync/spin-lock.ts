/**
 * A spin lock: one word, 0 or the owner's thread id + 1. For a few hundred instructions at most.
 *
 *   0 ──compare-exchange──▶ id + 1 ──store──▶ 0
 *
 * Release is a plain sequence of writes, then one Atomics.store. A thread that finds the lock held
 * by a dead owner, or held for longer than any operation takes, poisons the machine: the data
 * behind the lock may be half-changed, and to wait for it would be to wait forever. Only time in
 * which this thread looked counts.
 */
import { Patience } from './patience.ts';
import type { ThreadTable } from './thread-table.ts';
import { DIED_WRITING, LOCKED_UP } from './trust.ts';

const SPINS_PER_LOOK = 2_000;
/** A holder is descheduled for milliseconds at worst. */
const LOCKUP_MS = 20_000;
/** A look takes microseconds, and yields the processor for as long. */
const LOOK_MS = 10;

/** Takes the lock at `words[at]`. `mayBlock`: yield the processor to the holder while waiting. */
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

/** Lets the holder run: it may be waiting for this very core. Nobody notifies a spin lock. */
function yieldProcessor(words: Int32Array, at: number, seen: number): void {
  Atomics.wait(words, at, seen, 0.05);
}
