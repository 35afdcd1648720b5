/**
 * The record of one file and its reference count (`file-table.ts` draws the life of a file). Where
 * the table names no lock for a field, a thread that has a reference reads it without a lock.
 */
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { readU64 } from '../../shared/u64.ts';
import { FilePlaces, placesBytes } from './file-places.ts';
import type { Store } from './store.ts';

/** Words of the record of a file. */
export const FILE_RECORD = {
  REFERENCES: 0, //  Atomics only; states in `file-table.ts`
  KIND: 1, //        FILE_KIND bits; Atomics only
  BACKING: 2, //     FILE_BACKING; immutable after init
  LOCK: 3, //        mutex word, rank FILE: protects the page cache
  SIZE: 4, //        bytes, u64; immutable after init
  PATH_AT: 6, //     place of the path in the store, u64; immutable after init
  PATH_BYTES: 8, //  its length; immutable after init
  CACHE_HEIGHT: 9, // levels of the page-cache tree, 0 = empty; file lock
  CONTENT_AT: 10, // place in the store, u64, immutable after init: of the bytes if BACKING is STORE,
  //                 else of the list of pages in backings (`file-places.ts`), 0 = none
  CACHE_ROOT: 12, // pfn of its root node, 0 = empty; file lock
  CACHE_PAGES: 13, // pages in the cache; file lock
  NEXT: 14, //       free: next free record · living: next file of the bucket; 0 = none; table lock
  PREV: 15, //       living: previous file of the bucket, 0 = first; table lock
  WORDS: 16,
} as const;

/** Bits of KIND. */
export const FILE_KIND = {
  DELETED: 1, // no name leads to it any more
  MEMORY: 2, //  its pages lie in the page cache alone: shared anonymous memory, memfd, tmpfs
  NAMED: 4, //   its name holds a reference until the file is DELETED
} as const;

/**
 * Whether a file of this KIND is unreachable: it has no name any more, or its pages lie in memory
 * alone, so nothing but an image can supply them.
 */
export function isUnreachableKind(kind: number): boolean {
  return (kind & (FILE_KIND.MEMORY | FILE_KIND.DELETED)) !== 0;
}

/** Values of BACKING: where a page of the file comes from if it is not in the page cache. */
export const FILE_BACKING = {
  NONE: 0, //  a memory-backed file: the page is zeros, unless it lies in a backing of the machine
  STORE: 1, // the machine's store: a simulated file on disk
  HOST: 2, //  a file of the host, opened by its path when a page is read
  UNREACHABLE: 3, // an unreachable file of an image or a live process: only its cached pages exist
} as const;

/** Words of the file table. */
export const FILE_TABLE = {
  HIGH_WATER: 0, // every id ever used is at most this; Atomics only
  LOCK: 1, //       spin lock, rank FILE_TABLE: protects the free list and the index of paths
  FREE: 2, //       first free record that was used before, 0 = none; LOCK
  SEED: 3, //       start value of the hash of paths; immutable after init
  DEV_ZERO_AT: 4, // place of the path of shared anonymous memory, u64; immutable after init
  RECORDS: 16, //   file id n is record n - 1; the buckets of the index follow (`file-names.ts`)
} as const;

const { REFERENCES, KIND, BACKING, LOCK, SIZE, PATH_AT, PATH_BYTES } = FILE_RECORD;
const { CONTENT_AT, CACHE_HEIGHT, CACHE_ROOT, CACHE_PAGES, WORDS } = FILE_RECORD;
const { HIGH_WATER, RECORDS } = FILE_TABLE;

/** REFERENCES while a thread fills or empties the record. No other thread can take a reference. */
export const CLAIMED = -1;

/** Accessors of the records, and their reference counts. */
export class FileRecords {
  /** Words of the buffer that holds the file table. */
  words: Int32Array;
  /** Word at which the table begins. */
  readonly base: number;
  /** Number of files that can exist at the same time. */
  readonly capacity: number;
  protected readonly store: Store;
  protected readonly threads: ThreadTable;

  constructor(
    words: Int32Array,
    base: number,
    capacity: number,
    store: Store,
    threads: ThreadTable,
  ) {
    this.words = words;
    this.base = base;
    this.capacity = capacity;
    this.store = store;
    this.threads = threads;
  }

  /** Drops the view once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    this.words = new Int32Array();
  }

  /** Takes a reference. Throws EBADF when the file is gone. */
  get(id: number): void {
    if (!this.tryGet(id)) throw new MmdumpError('EBADF', `the machine has no file ${id}`);
  }

  /** Takes a reference, or returns false when the file is gone (igrab). */
  tryGet(id: number): boolean {
    const at = this.record(id) + REFERENCES;
    for (;;) {
      const seen = id > 0 && id <= this.capacity ? Atomics.load(this.words, at) : 0;
      if (seen <= 0) return false;
      if (Atomics.compareExchange(this.words, at, seen, seen + 1) === seen) return true;
    }
  }

  /**
   * Drops a reference. Returns true when it was the last one: the caller must then free the page
   * cache and call `free`, as `putFile` does.
   */
  dropReference(id: number, thread: number): boolean {
    this.threads.assertInside(thread, 'a reference to a file is dropped');
    // The record stays CLAIMED until the page cache is freed, so no thread uses it before.
    const at = this.record(id) + REFERENCES;
    for (;;) {
      const seen = Atomics.load(this.words, at);
      assert(seen > 0, `file ${id} is released more often than it was taken`);
      // From the last drop on the file belongs to this thread alone: no `tryGet` can bring it back.
      const next = seen === 1 ? CLAIMED : seen - 1;
      if (Atomics.compareExchange(this.words, at, seen, next) === seen) return seen === 1;
    }
  }

  /** Whether the file has a reference at this moment. */
  exists(id: number): boolean {
    return id > 0 && id <= this.capacity && this.references(id) > 0;
  }

  references(id: number): number {
    return Atomics.load(this.words, this.record(id) + REFERENCES);
  }

  /** FILE_KIND bits of the file. */
  kind(id: number): number {
    return Atomics.load(this.words, this.record(id) + KIND);
  }

  /** FILE_BACKING of the file. */
  backing(id: number): number {
    return this.words[this.record(id) + BACKING]!;
  }

  /** Size of the file in bytes. */
  size(id: number): number {
    return readU64(this.words, this.record(id) + SIZE);
  }

  /** The raw bytes of the path, as a view of the store. */
  path(id: number): Uint8Array {
    const at = this.record(id);
    return this.store.view(readU64(this.words, at + PATH_AT), this.words[at + PATH_BYTES]!);
  }

  /** The path as text, for messages. */
  pathText(id: number): string {
    return Buffer.from(this.path(id)).toString();
  }

  /** A view of bytes of the content in the store. Only for files with BACKING = STORE. */
  content(id: number, offset: number, length: number): Uint8Array {
    return this.store.view(readU64(this.words, this.record(id) + CONTENT_AT) + offset, length);
  }

  /**
   * The list of the file's pages that lie in backings, or undefined if there are none. The caller has
   * a reference to the file. A loop over pages keeps the list.
   */
  places(id: number): FilePlaces | undefined {
    const record = this.record(id);
    if (this.words[record + BACKING] === FILE_BACKING.STORE) return undefined;
    const at = readU64(this.words, record + CONTENT_AT);
    if (at === 0) return undefined;
    const { buffer, byteOffset } = this.store.view(at, 0);
    const runs = new Int32Array(buffer, byteOffset, 1)[0]!;
    return new FilePlaces(new Int32Array(buffer, byteOffset, placesBytes(runs) / 4));
  }

  /** Pfn of the root node of the page cache, 0 if it is empty. */
  cacheRoot(id: number): number {
    return Atomics.load(this.words, this.record(id) + CACHE_ROOT);
  }

  /** Number of levels of the page cache, 0 if it is empty. */
  cacheHeight(id: number): number {
    return this.words[this.record(id) + CACHE_HEIGHT]!;
  }

  /** Number of pages in the page cache. */
  cachePages(id: number): number {
    return this.words[this.record(id) + CACHE_PAGES]!;
  }

  /** Sets root and height of the page cache. File lock held, or the file is CLAIMED. */
  setCacheRoot(id: number, pfn: number, height: number): void {
    this.words[this.record(id) + CACHE_HEIGHT] = height;
    Atomics.store(this.words, this.record(id) + CACHE_ROOT, pfn);
  }

  /** Adds `count`, which may be negative, to the number of cached pages. File lock held. */
  addCachePages(id: number, count: number): void {
    this.words[this.record(id) + CACHE_PAGES]! += count;
  }

  /** The file lock, rank FILE. It protects the page cache and the content in the store. */
  lock(id: number): Mutex {
    const at = this.record(id) + LOCK;
    return new Mutex(this.words, at, RANK.FILE, this.threads, 'the file');
  }

  /** Every id that was ever used is at most this. */
  get highWater(): number {
    return Atomics.load(this.words, this.base + HIGH_WATER);
  }

  /** Whether the thread, which is dead, still owns a file lock. */
  anyLockOwnedBy(thread: number): boolean {
    const count = Atomics.load(this.words, this.base + HIGH_WATER);
    for (let id = 1; id <= count; id++) {
      if (this.lock(id).owner === thread) return true;
    }
    return false;
  }

  /** Releases the file locks that a dead onlooker still owns. */
  breakLocks(thread: number): void {
    const count = Atomics.load(this.words, this.base + HIGH_WATER);
    for (let id = 1; id <= count; id++) this.lock(id).breakFor(thread);
  }

  /** Makes every thread that waits for a file lock look at it again. */
  wakeAll(): void {
    const count = Atomics.load(this.words, this.base + HIGH_WATER);
    for (let id = 1; id <= count; id++) this.lock(id).wakeAll();
  }

  /** First word of the record of a file. */
  protected record(id: number): number {
    return this.base + RECORDS + (id - 1) * WORDS;
  }
}
