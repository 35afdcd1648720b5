/**
 * What each thread of a machine holds, and the lock order.
 *
 * Lock order, outermost first. A thread may take a lock only if it holds none of the same or a
 * later rank. HELD records what it holds, with one bit per rank.
 *
 *   freeze gate → mmap lock (readers-writer) → LDT lock → file lock → page-table lock → allocator
 *   → file table → store
 */
import { assert } from '../assert.ts';
import { THREAD_HEADER, THREAD_SLOT } from './thread-layout.ts';
import { Trust } from './trust.ts';

/** Bits of the ranks, in the lock order. The mmap lock has one bit per mode. */
export const RANK = {
  GATE: 0x01,
  MMAP_READ: 0x02,
  MMAP_WRITE: 0x04,
  LDT: 0x08,
  FILE: 0x10,
  PAGE_TABLE: 0x20,
  ALLOCATOR: 0x40,
  FILE_TABLE: 0x80,
  STORE: 0x100,
} as const;

/** The mmap lock in either mode. */
export const MMAP: number = RANK.MMAP_READ | RANK.MMAP_WRITE;

/** Locks that protect a change. A thread that dies with one of them was changing something. */
const WRITING =
  RANK.MMAP_WRITE |
  RANK.LDT |
  RANK.FILE |
  RANK.PAGE_TABLE |
  RANK.ALLOCATOR |
  RANK.FILE_TABLE |
  RANK.STORE;

const { HELD, LOOKS, WORDS: SLOT_WORDS } = THREAD_SLOT;
const { WORDS: HEADER_WORDS } = THREAD_HEADER;

/** The word HELD of every thread, and the assertions that follow from it. */
export class HeldLocks extends Trust {
  /**
   * Whether the lock order is asserted at every acquisition, and the locks that changes need. True
   * in tests, false in production.
   */
  readonly checksOrder: boolean;

  constructor(words: Int32Array, base: number, checksOrder: boolean) {
    super(words, base);
    this.checksOrder = checksOrder;
  }

  /** First word of the slot of a thread. */
  protected slot(id: number): number {
    return this.base + HEADER_WORDS + id * SLOT_WORDS;
  }

  isOnlooker(id: number): boolean {
    return this.words[this.slot(id) + LOOKS] === 1;
  }

  /**
   * Asserts that `id` may take a lock of this rank. Must be called before acquiring the lock.
   * Checks nothing unless `checksOrder` is set.
   */
  assertOrder(id: number, rank: number): void {
    if (!this.checksOrder) return;
    const held = this.words[this.slot(id) + HELD]!;
    // The same rank or a later one. The two modes of the mmap lock exclude each other, too.
    const later = rank === RANK.MMAP_WRITE ? ~RANK.GATE : ~(rank - 1);
    assert(
      (held & later) === 0,
      `lock order: thread ${id} holds 0x${held.toString(16)} and takes 0x${rank.toString(16)}`,
    );
  }

  /**
   * Asserts that the thread may change the machine, that is, that it is inside the freeze gate. An
   * onlooker may also do so: it takes references for a dump whose coordinator is inside. Like the
   * lock order, this is asserted only if `checksOrder` is set.
   */
  assertInside(id: number, change: string): void {
    if (!this.checksOrder) return;
    assert(
      this.holds(id, RANK.GATE) || this.isOnlooker(id),
      `freeze gate: thread ${id} is outside and makes a change: ${change}`,
    );
  }

  /**
   * Asserts that the thread holds a lock of one of these ranks, which `change` needs. It does not
   * know which lock of the rank that is. Like the lock order, this is asserted only if
   * `checksOrder` is set. Called where a change begins, and not once per page.
   */
  assertHeld(id: number, ranks: number, change: string): void {
    if (!this.checksOrder) return;
    const held = this.words[this.slot(id) + HELD]!;
    assert(
      (held & ranks) !== 0,
      `locks: thread ${id} holds 0x${held.toString(16)}, not 0x${ranks.toString(16)}: ${change}`,
    );
  }

  /** Records that the thread holds a lock of this rank. Called after acquiring the lock. */
  hold(id: number, rank: number): void {
    this.words[this.slot(id) + HELD]! |= rank;
  }

  /** Records that the thread holds no lock of this rank. Called before releasing the lock. */
  drop(id: number, rank: number): void {
    this.words[this.slot(id) + HELD]! &= ~rank;
  }

  holds(id: number, rank: number): boolean {
    return (this.words[this.slot(id) + HELD]! & rank) !== 0;
  }

  holdsAny(id: number): boolean {
    return this.words[this.slot(id) + HELD] !== 0;
  }

  /** Whether the thread, which is dead, held a lock that protects a change. */
  diedWriting(id: number): boolean {
    return !this.isOnlooker(id) && (this.words[this.slot(id) + HELD]! & WRITING) !== 0;
  }
}
