/**
 * The record of one file, and who keeps it (`file-table.ts` draws its life). The fields are read
 * without a lock by whoever has a reference, where the table does not name one.
 */
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import { RANK, type ThreadTable } from '../../shared/sync/thread-table.ts';
import { readU64 } from '../../shared/u64.ts';
import type { Store } from './store.ts';

export const FILE_RECORD = {
  REFERENCES: 0, //  Atomics only; see above
  KIND: 1, //        FILE_KIND bits; Atomics only
  BACKING: 2, //     FILE_BACKING; immutable after init
  LOCK: 3, //        mutex word, rank FILE: protects the page cache
  SIZE: 4, //        bytes, u64; immutable after init
  PATH_AT: 6, //     place of the path in the store, u64; immutable after init
  PATH_BYTES: 8, //  its length; immutable after init
  CACHE_HEIGHT: 9, // levels of the page-cache tree, 0 = empty; file lock
  CONTENT_AT: 10, // place of the bytes in the store if BACKING is STORE, u64; immutable after init
  CACHE_ROOT: 12, // pfn of its root node, 0 = empty; file lock
  CACHE_PAGES: 13, // pages in the cache; file lock
  NEXT: 14, //       free: next free record · living: next file of the bucket; 0 = none; table lock
  PREV: 15, //       living: previous file of the bucket, 0 = first; table lock
  WORDS: 16,
} as const;

export const FILE_KIND = {
  DELETED: 1, // no name leads to it any more
  MEMORY: 2, //  its only home is the page cache: shared anonymous, memfd, tmpfs
  NAMED: 4, //   its name holds a reference until it is DELETED
} as const;

export const FILE_BACKING = {
  NONE: 0, //  absent pages are zeros: memory-backed files
  STORE: 1, // bytes in the machine's store: a simulated file on disk
  HOST: 2, //  a file of the host, opened by its path when somebody reads it
  LOST: 3, //  a deleted file that came out of an image: only its cached pages are left
} as const;

export const FILE_TABLE = {
  HIGH_WATER: 0, // ids ever used are at most this; Atomics only
  LOCK: 1, //       spin lock, rank FILE_TABLE: protects the free list and the index of paths
  FREE: 2, //       first free record that was used before, 0 = none; LOCK
  SEED: 3, //       start of the hash of paths; immutable after init
  DEV_ZERO_AT: 4, // place of the path of shared anonymous memory, u64; immutable after init
  RECORDS: 16, //   file id n is record n - 1; the buckets of the index follow (`file-names.ts`)
} as const;

const { REFERENCES, KIND, BACKING, LOCK, SIZE, PATH_AT, PATH_BYTES } = FILE_RECORD;
const { CONTENT_AT, CACHE_HEIGHT, CACHE_ROOT, CACHE_PAGES, WORDS } = FILE_RECORD;
const { HIGH_WATER, RECORDS } = FILE_TABLE;

/** In REFERENCES: the record is being filled or emptied. Nobody can take a reference. */
export const CLAIMED = -1;

/** Accessors of the records, and their reference counts. */
export class FileRecords {
  words: Int32Array;
  /** Word at which the table begins. */
  readonly base: number;
  /** Files that there can be at the same time. */
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

  /** The machine was closed: nobody looks at it any more. */
  letGo(): void {
    this.words = new Int32Array();
  }

  /** Takes a reference. EBADF when the file is gone. */
  get(id: number): void {
    if (!this.tryGet(id)) throw new MmdumpError('EBADF', `the machine has no file ${id}`);
  }

  /** Takes a reference unless the file is gone. */
  tryGet(id: number): boolean {
    const at = this.record(id) + REFERENCES;
    for (;;) {
      const seen = id > 0 && id <= this.capacity ? Atomics.load(this.words, at) : 0;
      if (seen <= 0) return false;
      if (Atomics.compareExchange(this.words, at, seen, seen + 1) === seen) return true;
    }
  }

  /** Drops a reference; true when the caller must now free the page cache and call `free`. */
  dropReference(id: number, thread: number): boolean {
    this.threads.assertInside(thread, 'a reference to a file is dropped');
    // The slot stays claimed until the cache is gone, so that it is not taken before.
    const at = this.record(id) + REFERENCES;
    for (;;) {
      const seen = Atomics.load(this.words, at);
      assert(seen > 0, `file ${id} is released more often than it was taken`);
      // Whoever drops the last one alone may touch the file from then on: no `tryGet` brings it back.
      const next = seen === 1 ? CLAIMED : seen - 1;
      if (Atomics.compareExchange(this.words, at, seen, next) === seen) return seen === 1;
    }
  }

  exists(id: number): boolean {
    return id > 0 && id <= this.capacity && this.references(id) > 0;
  }

  references(id: number): number {
    return Atomics.load(this.words, this.record(id) + REFERENCES);
  }

  kind(id: number): number {
    return Atomics.load(this.words, this.record(id) + KIND);
  }

  backing(id: number): number {
    return this.words[this.record(id) + BACKING]!;
  }

  size(id: number): number {
    return readU64(this.words, this.record(id) + SIZE);
  }

  path(id: number): Uint8Array {
    const at = this.record(id);
    return this.store.view(readU64(this.words, at + PATH_AT), this.words[at + PATH_BYTES]!);
  }

  /** The path for messages. */
  pathText(id: number): string {
    return Buffer.from(this.path(id)).toString();
  }

  /** A view of stored bytes; only for BACKING = STORE. */
  content(id: number, offset: number, length: number): Uint8Array {
    return this.store.view(readU64(this.words, this.record(id) + CONTENT_AT) + offset, length);
  }

  cacheRoot(id: number): number {
    return Atomics.load(this.words, this.record(id) + CACHE_ROOT);
  }

  cacheHeight(id: number): number {
    return this.words[this.record(id) + CACHE_HEIGHT]!;
  }

  cachePages(id: number): number {
    return this.words[this.record(id) + CACHE_PAGES]!;
  }

  setCacheRoot(id: number, pfn: number, height: number): void {
    this.words[this.record(id) + CACHE_HEIGHT] = height;
    Atomics.store(this.words, this.record(id) + CACHE_ROOT, pfn);
  }

  addCachePages(id: number, count: number): void {
    this.words[this.record(id) + CACHE_PAGES]! += count;
  }

  lock(id: number): Mutex {
    const at = this.record(id) + LOCK;
    return new Mutex(this.words, at, RANK.FILE, this.threads, 'the file');
  }

  /** Every id ever used is at most this. */
  get highWater(): number {
    return Atomics.load(this.words, this.base + HIGH_WATER);
  }

  /** True when the (dead) thread still owns a file's lock. */
  anyLockOwnedBy(thread: number): boolean {
    const count = Atomics.load(this.words, this.base + HIGH_WATER);
    for (let id = 1; id <= count; id++) {
      if (this.lock(id).owner === thread) return true;
    }
    return false;
  }

  /** Opens the locks that a dead onlooker has left behind. */
  breakLocks(thread: number): void {
    const count = Atomics.load(this.words, this.base + HIGH_WATER);
    for (let id = 1; id <= count; id++) this.lock(id).breakFor(thread);
  }

  wakeAll(): void {
    const count = Atomics.load(this.words, this.base + HIGH_WATER);
    for (let id = 1; id <= count; id++) this.lock(id).wakeAll();
  }

  /** Word of the record of a file. */
  protected record(id: number): number {
    return this.base + RECORDS + (id - 1) * WORDS;
  }
}
