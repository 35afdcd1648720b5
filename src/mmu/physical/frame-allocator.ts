/**
 * The frame allocator: a buddy system with orders 0 (4 KiB) to 9 (2 MiB), which every thread can
 * use (mm/page_alloc.c). The free blocks of one order form a list that runs through their page
 * structs.
 *
 * A frame that was never used is zero already. The flag STALE of a free frame says that it was
 * used. So a fresh machine hands out zeroed memory without touching it.
 */
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { Pfn } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { ORDER_MASK, ORDER_SHIFT, type PageStructs, PG } from './page-struct.ts';
import type { PhysicalMemory } from './physical-memory.ts';

/** Words of the allocator, in the control block of the machine. */
export const ALLOCATOR = {
  LOCK: 0, //    spin lock, rank ALLOCATOR
  FREE: 1, //    frames on the lists; protected by LOCK, read without it as a hint
  MANAGED: 2, // frames that the allocator was given; immutable after init
  HEADS: 3, //   10 words: first block of each order, 0 = none; protected by LOCK
  WORDS: 16,
} as const;

/** The largest order. A block of order n has 2^n frames. */
export const MAX_ORDER = 9;
/** Frames in a block of the largest order: one 2 MiB page. */
export const MAX_BLOCK = 512;

const { LOCK, FREE, MANAGED, HEADS } = ALLOCATOR;
const { BUDDY, STALE, RESERVED } = PG;

/**
 * The frame allocator as one thread sees it. Its state lies in shared words and in page structs.
 *
 * Preconditions of every method that takes or frees frames:
 * - `thread` is the id of the calling thread;
 * - this thread is inside the freeze gate, or an onlooker (asserted in machines with `checks`);
 * - this thread holds no lock of rank ALLOCATOR or of a later rank.
 */
export class FrameAllocator {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #memory: PhysicalMemory;
  readonly #pages: PageStructs;
  readonly #threads: ThreadTable;
  readonly #mayBlock: boolean;

  constructor(
    words: Int32Array,
    base: number,
    memory: PhysicalMemory,
    pages: PageStructs,
    threads: ThreadTable,
    mayBlock: boolean,
  ) {
    this.#words = words;
    this.#base = base;
    this.#memory = memory;
    this.#pages = pages;
    this.#threads = threads;
    this.#mayBlock = mayBlock;
  }

  /** Gives the frames [first, limit) to the allocator. The creator of the machine calls it once. */
  initialise(first: number, limit: number): void {
    // From the top down, so that the lowest block ends up first on its list.
    for (let end = limit; end > first; ) {
      const order = largestOrder(end, end - first);
      end -= 1 << order;
      this.#push(end, order);
    }
    this.#words[this.#base + MANAGED] = limit - first;
    this.#words[this.#base + FREE] = limit - first;
  }

  /** Frames that are free at this moment. Other threads may change the number at any time. */
  get freeFrames(): number {
    return Atomics.load(this.#words, this.#base + FREE);
  }

  /** Frames that belong to the allocator, free or in use. */
  get managedFrames(): number {
    return this.#words[this.#base + MANAGED]!;
  }

  /**
   * Allocates one frame, with one reference and undefined bytes (alloc_page). Throws ENOMEM when no
   * frame is free.
   */
  allocate(thread: number): Pfn {
    const pfn = this.#take(0, thread);
    if (pfn === 0) throw outOfMemory();
    this.#pages.reset(pfn);
    return pfn as Pfn;
  }

  /** Allocates one frame of zeros, with one reference. Throws ENOMEM when no frame is free. */
  allocateZeroed(thread: number): Pfn {
    const pfn = this.#take(0, thread);
    if (pfn === 0) throw outOfMemory();
    if ((this.#pages.flags(pfn) & STALE) !== 0) this.#memory.zero(pfn);
    this.#pages.reset(pfn);
    return pfn as Pfn;
  }

  /**
   * Allocates 512 contiguous frames that are aligned to 2 MiB, each with one reference. Returns the
   * first, or 0 when there is no such block. The bytes are zeros with `zeroed`, else undefined.
   */
  tryAllocateHuge(thread: number, zeroed: boolean): Pfn {
    const first = this.#take(MAX_ORDER, thread);
    if (first === 0) return 0 as Pfn;
    for (let pfn = first; pfn < first + MAX_BLOCK; pfn++) {
      if (zeroed && (this.#pages.flags(pfn) & STALE) !== 0) this.#memory.zero(pfn);
      this.#pages.reset(pfn);
    }
    return first as Pfn;
  }

  /**
   * Allocates contiguous frames with undefined bytes, each with one reference: the largest block
   * that can be had and is not longer than `wanted` frames. Throws ENOMEM when not even one frame
   * is free.
   */
  allocateRun(wanted: number, thread: number): { readonly first: Pfn; readonly count: number } {
    for (let order = largestOrder(0, Math.min(wanted, MAX_BLOCK)); order >= 0; order--) {
      const first = this.#take(order, thread);
      if (first === 0) continue;
      this.#pages.resetRun(first, 1 << order);
      return { first: first as Pfn, count: 1 << order };
    }
    throw outOfMemory();
  }

  /**
   * Drops one reference (put_page). The last one frees the frame, unless it is adopted. A reserved
   * frame is not counted.
   */
  put(pfn: number, thread: number): void {
    this.#threads.assertInside(thread, 'a reference to a frame is dropped');
    if ((this.#pages.flags(pfn) & RESERVED) !== 0) return;
    const isLast = this.#pages.dropReference(pfn);
    if (isLast && pfn < this.#memory.ownFrames) this.free(pfn, thread);
  }

  /** Puts a frame without references on the lists, and merges it with its free buddies. */
  free(pfn: number, thread: number): void {
    this.#threads.assertInside(thread, 'a frame is freed');
    assert(this.#pages.isUnreferenced(pfn), `frame ${pfn} is freed while it is referenced`);
    assert((this.#pages.flags(pfn) & BUDDY) === 0, `frame ${pfn} is freed twice`);
    this.#lock(thread);
    this.#pages.setFlags(pfn, STALE);
    let first = pfn;
    let order = 0;
    for (; order < MAX_ORDER; order++) {
      const buddy = first ^ (1 << order);
      if (!this.#isFreeBlock(buddy, order)) break;
      this.#unlink(buddy, order);
      first = Math.min(first, buddy);
    }
    this.#push(first, order);
    this.#words[this.#base + FREE]! += 1;
    this.#unlock(thread);
  }

  /** Counts the free frames by walking the lists. Tests compare the result with `freeFrames`. */
  countFree(thread: number): number {
    this.#lock(thread);
    let count = 0;
    for (let order = 0; order <= MAX_ORDER; order++) {
      for (let pfn = this.#head(order); pfn !== 0; pfn = this.#pages.next(pfn)) count += 1 << order;
    }
    this.#unlock(thread);
    return count;
  }

  /** Id of the thread that holds the allocator lock, or -1. */
  get lockOwner(): number {
    return Atomics.load(this.#words, this.#base + LOCK) - 1;
  }

  /**
   * Takes a block of 2^order frames off its list and returns its first frame, or 0 when there is
   * none. A larger block is split: its low part is taken, the rest goes back to the lists.
   */
  #take(order: number, thread: number): number {
    this.#threads.assertInside(thread, 'a frame is taken');
    this.#lock(thread);
    let found = order;
    while (found <= MAX_ORDER && this.#head(found) === 0) found++;
    if (found > MAX_ORDER) {
      this.#unlock(thread);
      return 0;
    }
    const pfn = this.#head(found);
    this.#unlink(pfn, found);
    while (found > order) {
      found--;
      this.#push(pfn + (1 << found), found);
    }
    this.#words[this.#base + FREE]! -= 1 << order;
    this.#unlock(thread);
    return pfn;
  }

  #head(order: number): number {
    return this.#words[this.#base + HEADS + order]!;
  }

  /** Puts a block at the head of its list. Allocator lock held, except in `initialise`. */
  #push(pfn: number, order: number): void {
    const pages = this.#pages;
    const head = this.#head(order);
    const stale = pages.flags(pfn) & STALE;
    pages.setFlags(pfn, BUDDY | stale | (order << ORDER_SHIFT));
    pages.setNext(pfn, head);
    pages.setPrevious(pfn, 0);
    if (head !== 0) pages.setPrevious(head, pfn);
    this.#words[this.#base + HEADS + order] = pfn;
  }

  /** Takes a block out of its list. Allocator lock held. */
  #unlink(pfn: number, order: number): void {
    const pages = this.#pages;
    const next = pages.next(pfn);
    const previous = pages.previous(pfn);
    if (previous === 0) this.#words[this.#base + HEADS + order] = next;
    else pages.setNext(previous, next);
    if (next !== 0) pages.setPrevious(next, previous);
    pages.setFlags(pfn, pages.flags(pfn) & STALE);
  }

  /** Whether a free block of exactly this order begins at `pfn`. Allocator lock held. */
  #isFreeBlock(pfn: number, order: number): boolean {
    if (pfn >= this.#memory.ownFrames) return false;
    const flags = this.#pages.flags(pfn);
    return (flags & BUDDY) !== 0 && ((flags >>> ORDER_SHIFT) & ORDER_MASK) === order;
  }

  #lock(thread: number): void {
    const { ALLOCATOR: rank } = RANK;
    spinLock(this.#words, this.#base + LOCK, thread, rank, this.#threads, this.#mayBlock);
  }

  #unlock(thread: number): void {
    spinUnlock(this.#words, this.#base + LOCK, thread, RANK.ALLOCATOR, this.#threads);
  }
}

/** The largest order whose block has at most `room` frames and is aligned if it ends at `end`. */
function largestOrder(end: number, room: number): number {
  let order = 0;
  while (order < MAX_ORDER && end % (2 << order) === 0 && 2 << order <= room) order++;
  return order;
}

/**
 * `reason` of an ENOMEM that means that no frame is free. Only reclaim can help against this one.
 */
export const NO_FRAMES = 'no free frames';

/** Makes the ENOMEM error of a machine that has no free frame. */
export function outOfMemory(): MmdumpError {
  return new MmdumpError(
    'ENOMEM',
    'the simulated machine has no free frame left: create it with more memory or swap',
    { reason: NO_FRAMES },
  );
}
