/**
 * The frame allocator: a buddy system with orders 0 (4 KiB) to 9 (2 MiB), usable from any thread
 * (mm/page_alloc.c). Free blocks of an order form a list through their page structs.
 *
 * A frame that was never used is zero already; STALE in a free frame's flags says that it was.
 * So a fresh machine hands out zeroed memory without touching it.
 */
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { Pfn } from '../../shared/page.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import { RANK, type ThreadTable } from '../../shared/sync/thread-table.ts';
import { ORDER_MASK, ORDER_SHIFT, type PageStructs, PG } from './page-struct.ts';
import type { PhysicalMemory } from './physical-memory.ts';

export const ALLOCATOR = {
  LOCK: 0, //    spin lock, rank ALLOCATOR
  FREE: 1, //    frames on the lists; protected by LOCK, read by anybody as a hint
  MANAGED: 2, // frames that were ever given to the allocator; immutable after init
  HEADS: 3, //   10 words: first block of each order, 0 = none; protected by LOCK
  WORDS: 16,
} as const;

export const MAX_ORDER = 9;
/** Frames of the largest block: one 2 MiB page. */
export const MAX_BLOCK = 512;

const { LOCK, FREE, MANAGED, HEADS } = ALLOCATOR;
const { BUDDY, STALE, RESERVED } = PG;

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

  /** Gives the frames [first, limit) to the allocator. Once, by the machine's creator. */
  initialise(first: number, limit: number): void {
    // From the top, so that the lowest block ends up first on its list.
    for (let end = limit; end > first; ) {
      const order = largestOrder(end, end - first);
      end -= 1 << order;
      this.#push(end, order);
    }
    this.#words[this.#base + MANAGED] = limit - first;
    this.#words[this.#base + FREE] = limit - first;
  }

  get freeFrames(): number {
    return Atomics.load(this.#words, this.#base + FREE);
  }

  get managedFrames(): number {
    return this.#words[this.#base + MANAGED]!;
  }

  /** One frame with one reference and undefined bytes. ENOMEM when there is none. */
  allocate(thread: number): Pfn {
    const pfn = this.#take(0, thread);
    if (pfn === 0) throw outOfMemory();
    this.#pages.reset(pfn);
    return pfn as Pfn;
  }

  /** One frame of zeros. */
  allocateZeroed(thread: number): Pfn {
    const pfn = this.#take(0, thread);
    if (pfn === 0) throw outOfMemory();
    if ((this.#pages.flags(pfn) & STALE) !== 0) this.#memory.zero(pfn);
    this.#pages.reset(pfn);
    return pfn as Pfn;
  }

  /** 512 contiguous frames, aligned to 2 MiB, or 0 when there is no such block. */
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
   * Contiguous frames with undefined bytes, each with one reference: the largest block there is
   * that is not longer than `wanted`. ENOMEM when not even one frame is left.
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

  /** Drops a reference (put_page) and frees the frame when it was the last. */
  put(pfn: number, thread: number): void {
    this.#threads.assertInside(thread, 'a reference to a frame is dropped');
    if ((this.#pages.flags(pfn) & RESERVED) !== 0) return;
    if (this.#pages.dropReference(pfn)) this.free(pfn, thread);
  }

  /** Returns a frame without references to the lists, joined with its free buddies. */
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

  /** All free frames, by walking the lists. For the invariants of the tests. */
  countFree(thread: number): number {
    this.#lock(thread);
    let count = 0;
    for (let order = 0; order <= MAX_ORDER; order++) {
      for (let pfn = this.#head(order); pfn !== 0; pfn = this.#pages.next(pfn)) count += 1 << order;
    }
    this.#unlock(thread);
    return count;
  }

  /** Thread id of the holder of the allocator lock, or -1. */
  get lockOwner(): number {
    return Atomics.load(this.#words, this.#base + LOCK) - 1;
  }

  /** First frame of a block of 2^order frames, or 0. Splits larger blocks, keeping the low half. */
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

  #unlink(pfn: number, order: number): void {
    const pages = this.#pages;
    const next = pages.next(pfn);
    const previous = pages.previous(pfn);
    if (previous === 0) this.#words[this.#base + HEADS + order] = next;
    else pages.setNext(previous, next);
    if (next !== 0) pages.setPrevious(next, previous);
    pages.setFlags(pfn, pages.flags(pfn) & STALE);
  }

  #isFreeBlock(pfn: number, order: number): boolean {
    if (pfn >= this.#memory.frames) return false;
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

/** Largest order whose block fits into `room` frames and ends at a multiple of its size. */
function largestOrder(end: number, room: number): number {
  let order = 0;
  while (order < MAX_ORDER && end % (2 << order) === 0 && 2 << order <= room) order++;
  return order;
}

/** `reason` of an ENOMEM that means frames: the one kind that reclaiming pages may mend. */
export const NO_FRAMES = 'no free frames';

/** ENOMEM: no frame is free. */
export function outOfMemory(): MmdumpError {
  return new MmdumpError(
    'ENOMEM',
    'the simulated machine has no free frame left: create it with more memory or swap',
    { reason: NO_FRAMES },
  );
}
