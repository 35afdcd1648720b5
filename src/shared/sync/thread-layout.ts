/** The words of a thread table (`thread-table.ts`). It lies in the control block of a machine. */

/** The most threads that can be registered at the same time. */
export const THREADS_MAX = 256;

/**
 * The id for code that takes no lock, because it reads a machine that another thread has frozen.
 */
export const NO_THREAD = -1;

/** The words before the slots. */
export const THREAD_HEADER = {
  POISON: 0, //       0, or a PoisonReason, and the bit CLOSED; Atomics only, bits are never reset
  POISONED_BY: 1, //  id of the thread that caused it; Atomics only, written before POISON
  HIGH_WATER: 2, //   all ids ever used are below it; Atomics only, only grows
  FREED: 3, //        waited on; counts events that a waiter for an id waits for; Atomics only
  WAITERS: 4, //      at least the number of threads that wait on FREED; Atomics only
  WORDS: 16,
} as const;

/** The words of a thread. */
export const THREAD_SLOT = {
  STATE: 0, // FREE, LIVE or DEAD, and which life and OS thread (see STATE_BITS); Atomics only
  GATE: 1, //  1 while inside the freeze gate; Atomics, written by its owner
  HELD: 2, //  bits of RANK; written by its owner, read by others once it is dead
  LOOKS: 3, // 1: an onlooker, see registerOnlooker; written before another thread knows the id
  KIND: 4, //  ATTACHED or OPERATION; written by its owner before another thread knows the id
  OS_START: 5, // when its OS thread started, 0: not written yet; Atomics, written by its owner
  LIVES: 6, // lives of this slot that have ended; Atomics only
  WORDS: 16, // 64 bytes: no two threads share a cache line
} as const;

/** Bits of STATE, from the lowest on: 2 of state, 8 of the count of lives, 22 of the OS thread. */
export const STATE_BITS = { STATE: 0x3, LIFE: 0x3fc, NEXT_LIFE: 4, TID_SHIFT: 10 } as const;

/** Kind of an id that is kept for a long time: by a thread until it ends, or by a freeze. */
export const ATTACHED = 0;
/** Kind of an id that an operation, or a part of a job, keeps until it is done. */
export const OPERATION = 1;
/** Who keeps an id. */
export type ThreadKind = typeof ATTACHED | typeof OPERATION;

/** Words of a thread table. */
export const THREAD_TABLE_WORDS: number = THREAD_HEADER.WORDS + THREADS_MAX * THREAD_SLOT.WORDS;
