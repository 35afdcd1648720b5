/** The words of a thread table (`thread-table.ts`), at the head of a machine's control block. */

/** Threads that can be registered at the same time. */
export const THREADS_MAX = 256;

/** For code that reads a machine that somebody else has stopped, and takes no lock itself. */
export const NO_THREAD = -1;

export const THREAD_HEADER = {
  POISON: 0, //       0, or a PoisonReason, and the bit CLOSED; Atomics only, bits are never reset
  POISONED_BY: 1, //  id of the thread that caused it; written before POISON
  HIGH_WATER: 2, //   all ids ever used are below; Atomics only, grows
  FREED: 3, //        waited on; counts ids that somebody may wait for; Atomics only
  WAITERS: 4, //      at least the number of threads that wait on FREED; Atomics only
  WORDS: 16,
} as const;

export const THREAD_SLOT = {
  STATE: 0, // FREE, LIVE or DEAD, and who is meant (see STATE_BITS); Atomics only
  GATE: 1, //  1 while inside the freeze gate; Atomics, written by its owner
  HELD: 2, //  bits of RANK; written by its owner, read by others once it is dead
  LOOKS: 3, // 1: an onlooker, see registerOnlooker; written before anybody else knows the id
  KIND: 4, //  ATTACHED or OPERATION; written by its owner before anybody else knows the id
  OS_START: 5, // when its OS thread started, 0 = not written yet; Atomics, written by its owner
  LIVES: 6, // lives that have ended here; Atomics only
  WORDS: 16, // 64 bytes: no two threads share a cache line
} as const;

/** STATE, from the lowest bit: 2 bits of state, 8 of the count of lives, 22 of the OS thread. */
export const STATE_BITS = { STATE: 0x3, LIFE: 0x3fc, NEXT_LIFE: 4, TID_SHIFT: 10 } as const;

/** Who keeps an id: a thread until it ends, or an operation (a job's part, too) until it is done. */
export const ATTACHED = 0;
export const OPERATION = 1;
export type ThreadKind = typeof ATTACHED | typeof OPERATION;

export const THREAD_TABLE_WORDS: number = THREAD_HEADER.WORDS + THREADS_MAX * THREAD_SLOT.WORDS;
