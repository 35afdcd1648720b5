/**
 * The store of a machine: byte strings of any length that every thread can reach. It keeps paths,
 * contents of simulated files on "disk", auxiliary vectors and notes.
 *
 * Each string lies in a block of its own (`store-blocks.ts`).
 *
 *   references of a block:  free ──add──▶ 1 ⇄ n ──last put──▶ free
 *
 * The bytes of a block do not change while it is in use, except the contents of files: write-back
 * changes these under the file lock (`write-back.ts`). A thread that has a reference reads the
 * bytes without a lock. The place of a block is the offset of its bytes in the store. Place 0
 * stands for the empty string, which needs no block.
 */
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { STORE, StoreBlocks, UNIT } from './store-blocks.ts';

const { LOCK } = STORE;

/** The store of a machine as one thread sees it. */
export class Store {
  readonly #words: Int32Array; // the control block
  readonly #base: number;
  #bytes: Uint8Array;
  readonly #blocks: StoreBlocks;
  readonly #threads: ThreadTable;
  readonly #mayBlock: boolean;

  constructor(
    words: Int32Array,
    base: number,
    buffer: SharedArrayBuffer,
    threads: ThreadTable,
    mayBlock: boolean,
  ) {
    this.#words = words;
    this.#base = base;
    this.#bytes = new Uint8Array(buffer);
    this.#blocks = new StoreBlocks(words, base, buffer);
    this.#threads = threads;
    this.#mayBlock = mayBlock;
  }

  /** Makes one free block of the whole store. The creator of the machine calls it once. */
  initialise(): void {
    this.#blocks.initialise();
  }

  /** Bytes of the store. A string takes its length, rounded up to 16 bytes, and a header of 16. */
  get total(): number {
    return this.#blocks.units * UNIT;
  }

  /** Bytes of the free blocks, headers included. They may lie in several places. */
  get free(): number {
    return this.#blocks.free * UNIT;
  }

  /**
   * Keeps a copy of `bytes`, with one reference, and returns its place. Throws ENOSPC when no free
   * block is large enough. The thread is inside the freeze gate.
   */
  add(bytes: Uint8Array, thread: number): number {
    this.#threads.assertInside(thread, 'bytes for the store');
    if (bytes.length === 0) return 0;
    const units = 1 + Math.ceil(bytes.length / UNIT);
    this.#lock(thread);
    const unit = this.#blocks.take(units);
    this.#unlock(thread);
    if (unit < 0) throw this.#full(bytes.length);
    const at = (unit + 1) * UNIT;
    this.#bytes.set(bytes, at);
    return at;
  }

  /** Drops the views once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    this.#bytes = new Uint8Array();
    this.#blocks.dropViews();
  }

  /** Takes another reference. The caller has one, or holds a lock under which none is dropped. */
  get(at: number): void {
    if (at !== 0) this.#blocks.get(unitOf(at));
  }

  /** Drops a reference. The last one frees the block. The thread is inside the freeze gate. */
  put(at: number, thread: number): void {
    if (at === 0) return;
    this.#threads.assertInside(thread, 'bytes of the store are given back');
    const before = this.#blocks.dropReference(unitOf(at));
    assert(before > 0, `bytes at ${at} of the store are released more often than they were taken`);
    if (before > 1) return;
    this.#lock(thread);
    this.#blocks.release(unitOf(at));
    this.#unlock(thread);
  }

  /** A view of the bytes that were added. */
  view(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at, at + length);
  }

  /** Id of the thread that holds the store lock, or -1. */
  get lockOwner(): number {
    return Atomics.load(this.#words, this.#base + LOCK) - 1;
  }

  /**
   * Walks all blocks and lists, and throws where they contradict each other. Returns the size of
   * each free block, in units. Tests check the invariants of the store with it.
   */
  check(thread: number): number[] {
    this.#lock(thread);
    try {
      return this.#blocks.check();
    } finally {
      this.#unlock(thread);
    }
  }

  #full(bytes: number): MmdumpError {
    const { free, total } = this;
    const scattered = free >= bytes + 2 * UNIT ? ', but not side by side' : '';
    return new MmdumpError(
      'ENOSPC',
      `the machine's store has no room for ${bytes} bytes: ${free} of its ${total} bytes are ` +
        `free${scattered}; create the machine with a larger 'store'`,
    );
  }

  #lock(thread: number): void {
    const { STORE: rank } = RANK;
    spinLock(this.#words, this.#base + LOCK, thread, rank, this.#threads, this.#mayBlock);
  }

  #unlock(thread: number): void {
    spinUnlock(this.#words, this.#base + LOCK, thread, RANK.STORE, this.#threads);
  }
}

/** Unit of the block whose place is `at`. */
function unitOf(at: number): number {
  return at / UNIT - 1;
}
