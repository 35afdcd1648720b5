/**
 * The words of a readers-writer lock (`rw-lock.ts`), and the states of an entry in it:
 *
 *   0 ──▶ CHOOSING | mode ──▶ ticket | PRESENT | mode ──▶ … | HELD ──▶ 0
 *         (takes a ticket)    (waits its turn)            (owns the lock)
 *            any ──(its own timeout, abort or retreat; `abandon` once it is dead)──▶ 0
 */
import { THREADS_MAX } from './thread-layout.ts';

/** The words of a lock. */
export const RW_LOCK = {
  NEXT_TICKET: 0, // the ticket of the next thread; Atomics only
  CHANGES: 1, //     waited on; counts changes of entries that somebody may wait for; Atomics only
  WAITERS: 2, //     at least the number of waiting threads; Atomics only
  WRITERS: 3, //     8 words, one bit per thread that writes or is about to; Atomics only
  ENTRIES: 16, //    one entry per thread, ENTRY_WORDS apart
  ENTRY_WORDS: 16, // 64 bytes
} as const;

/** Words of a lock. */
export const RW_LOCK_WORDS: number = RW_LOCK.ENTRIES + THREADS_MAX * RW_LOCK.ENTRY_WORDS;

/** The bits of an entry, and where its ticket begins. */
export const RW_ENTRY = {
  CHOOSING: 1, //     the thread takes its ticket
  PRESENT: 2, //      it has one, or reads without one
  WRITER: 4, //       it is there to write, not to read
  HELD: 8, //         it owns the lock
  TICKET_SHIFT: 4, // 28 bits of ticket lie above
} as const;

/** Whether the ticket of an entry comes before that of `mine`. Tickets wrap round. */
export function isEarlier(entry: number, mine: number): boolean {
  return ((entry & ~0xf) - (mine & ~0xf)) >> RW_ENTRY.TICKET_SHIFT < 0;
}
