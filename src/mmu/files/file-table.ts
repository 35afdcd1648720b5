/**
 * The files that an mm can map: names, kinds, sizes, and where their bytes come from.
 *
 * A file's page cache is a tree of simulated frames (`page-cache.ts`), its name lies in the store.
 *
 *   REFERENCES: 0 ──create (compare-exchange)──▶ -1 ──fields are set──▶ 1 ⇄ n ──last put──▶ -1 ──cache is freed──▶ 0
 *
 * One reference stands for whoever created it (its name or open handle), one for every VMA.
 */
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import { RANK, type ThreadTable } from '../../shared/sync/thread-table.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';
import type { Store } from './store.ts';

export const FILES_MAX = 65_536;

export const FILE_RECORD = {
  REFERENCES: 0, //  Atomics only; see above
  KIND: 1, //        FILE_KIND bits; Atomics only
  BACKING: 2, //     FILE_BACKING; immutable after init
  LOCK: 3, //        mutex word, rank FILE: protects the page cache
  SIZE: 4, //        bytes, u64; immutable after init
  PATH_AT: 6, //     place of the path in the store, u64; immutable after init
  PATH_BYTES: 8, //  its length; immutable after init
  CACHE_HEIGHT: 9, // levels of the page-cache tree, 0 = empty; file lock
  CONTENT_AT: 10, // place of the bytes in the store if BACKING is STORE, u64; immutable
  CACHE_ROOT: 12, // pfn of its root node, 0 = empty; file lock
  CACHE_PAGES: 13, // pages in the cache; file lock
  WORDS: 16,
} as const;

export const FILE_KIND = {
  DELETED: 1, // no name leads to it any more
  MEMORY: 2, //  its only home is the page cache: shared anonymous, memfd, tmpfs
} as const;

export const FILE_BACKING = {
  NONE: 0, //  absent pages are zeros: memory-backed files
  STORE: 1, // bytes in the machine's store: a simulated file on disk
  HOST: 2, //  a file of the host, opened by its path when somebody reads it
  LOST: 3, //  a deleted file that came out of an image: only its cached pages are left
} as const;

const { REFERENCES, KIND, BACKING, LOCK, SIZE, PATH_AT, PATH_BYTES } = FILE_RECORD;
const { CONTENT_AT, CACHE_HEIGHT, CACHE_ROOT, CACHE_PAGES, WORDS } = FILE_RECORD;

export const FILE_TABLE = {
  HIGH_WATER: 0, // ids ever used are at most this; Atomics only
  RECORDS: 16, //   file id n is record n - 1
} as const;

export const FILE_TABLE_WORDS: number = FILE_TABLE.RECORDS + FILES_MAX * WORDS;

const CLAIMED = -1;

/** What a new file is made of. */
export interface FileFields {
  readonly path: Uint8Array; // raw bytes, as the file system has them
  readonly kind: number;
  readonly backing: number;
  readonly size: number; //     bytes
  readonly contentAt: number;
}

export class FileTable {
  words: Int32Array;
  readonly #store: Store;
  readonly #threads: ThreadTable;
  /** Where this thread looks for a free slot next; a hint. */
  #nextId = 0;

  constructor(buffer: SharedArrayBuffer, store: Store, threads: ThreadTable) {
    this.words = new Int32Array(buffer);
    this.#store = store;
    this.#threads = threads;
  }

  /** The machine was closed: nobody looks at it any more. */
  letGo(): void {
    this.words = new Int32Array();
  }

  /** Adds a file with one reference and returns its id, from 1. */
  create(fields: FileFields): number {
    const pathAt = this.#store.add(fields.path);
    for (let tried = 0; tried < FILES_MAX; tried++) {
      const id = (this.#nextId % FILES_MAX) + 1;
      this.#nextId = id;
      const at = this.#record(id);
      if (Atomics.compareExchange(this.words, at + REFERENCES, 0, CLAIMED) !== 0) continue;
      this.words[at + KIND] = fields.kind;
      this.words[at + BACKING] = fields.backing;
      this.words[at + PATH_BYTES] = fields.path.length;
      this.words[at + CACHE_HEIGHT] = 0;
      this.words[at + CACHE_ROOT] = 0;
      this.words[at + CACHE_PAGES] = 0;
      writeU64(this.words, at + SIZE, fields.size);
      writeU64(this.words, at + PATH_AT, pathAt);
      writeU64(this.words, at + CONTENT_AT, fields.contentAt);
      Atomics.store(this.words, at + REFERENCES, 1);
      this.#raiseHighWater(id);
      return id;
    }
    throw new MmdumpError('EMFILE', `a machine has at most ${FILES_MAX} files`);
  }

  /** Takes a reference. EBADF when the file is gone. */
  get(id: number): void {
    if (!this.tryGet(id)) throw new MmdumpError('EBADF', `the machine has no file ${id}`);
  }

  /** Takes a reference unless the file is gone. */
  tryGet(id: number): boolean {
    const at = this.#record(id) + REFERENCES;
    for (;;) {
      const seen = id > 0 && id <= FILES_MAX ? Atomics.load(this.words, at) : 0;
      if (seen <= 0) return false;
      if (Atomics.compareExchange(this.words, at, seen, seen + 1) === seen) return true;
    }
  }

  /** Drops a reference; true when the caller must now free the page cache and call `free`. */
  dropReference(id: number): boolean {
    // The slot stays claimed until the cache is gone, so that it is not taken before.
    const at = this.#record(id) + REFERENCES;
    for (;;) {
      const seen = Atomics.load(this.words, at);
      assert(seen > 0, `file ${id} is released more often than it was taken`);
      // Whoever drops the last one alone may touch the file from then on: no `tryGet` brings it back.
      const next = seen === 1 ? CLAIMED : seen - 1;
      if (Atomics.compareExchange(this.words, at, seen, next) === seen) return seen === 1;
    }
  }

  free(id: number): void {
    Atomics.store(this.words, this.#record(id) + REFERENCES, 0);
  }

  exists(id: number): boolean {
    return id > 0 && id <= FILES_MAX && this.references(id) > 0;
  }

  references(id: number): number {
    return Atomics.load(this.words, this.#record(id) + REFERENCES);
  }

  /** Id of a living file with this path, or 0. */
  lookup(path: Uint8Array): number {
    const count = Atomics.load(this.words, FILE_TABLE.HIGH_WATER);
    for (let id = 1; id <= count; id++) {
      if (!this.exists(id) || (this.kind(id) & FILE_KIND.DELETED) !== 0) continue;
      if (this.words[this.#record(id) + PATH_BYTES] !== path.length) continue;
      if (Buffer.compare(this.path(id), path) === 0) return id;
    }
    return 0;
  }

  kind(id: number): number {
    return Atomics.load(this.words, this.#record(id) + KIND);
  }

  markDeleted(id: number): void {
    Atomics.or(this.words, this.#record(id) + KIND, FILE_KIND.DELETED);
  }

  backing(id: number): number {
    return this.words[this.#record(id) + BACKING]!;
  }

  size(id: number): number {
    return readU64(this.words, this.#record(id) + SIZE);
  }

  path(id: number): Uint8Array {
    const at = this.#record(id);
    return this.#store.view(readU64(this.words, at + PATH_AT), this.words[at + PATH_BYTES]!);
  }

  /** The path for messages. */
  pathText(id: number): string {
    return Buffer.from(this.path(id)).toString();
  }

  /** A view of stored bytes; only for BACKING = STORE. */
  content(id: number, offset: number, length: number): Uint8Array {
    return this.#store.view(readU64(this.words, this.#record(id) + CONTENT_AT) + offset, length);
  }

  cacheRoot(id: number): number {
    return Atomics.load(this.words, this.#record(id) + CACHE_ROOT);
  }

  cacheHeight(id: number): number {
    return this.words[this.#record(id) + CACHE_HEIGHT]!;
  }

  cachePages(id: number): number {
    return this.words[this.#record(id) + CACHE_PAGES]!;
  }

  setCacheRoot(id: number, pfn: number, height: number): void {
    this.words[this.#record(id) + CACHE_HEIGHT] = height;
    Atomics.store(this.words, this.#record(id) + CACHE_ROOT, pfn);
  }

  addCachePages(id: number, count: number): void {
    this.words[this.#record(id) + CACHE_PAGES]! += count;
  }

  lock(id: number): Mutex {
    const at = this.#record(id) + LOCK;
    return new Mutex(this.words, at, RANK.FILE, this.#threads, 'the file');
  }

  /** Every id ever used is at most this. */
  get highWater(): number {
    return Atomics.load(this.words, FILE_TABLE.HIGH_WATER);
  }

  /** True when the (dead) thread still owns a file's lock. */
  anyLockOwnedBy(thread: number): boolean {
    const count = Atomics.load(this.words, FILE_TABLE.HIGH_WATER);
    for (let id = 1; id <= count; id++) {
      if (this.lock(id).owner === thread) return true;
    }
    return false;
  }

  /** Opens the locks that a dead onlooker has left behind. */
  breakLocks(thread: number): void {
    const count = Atomics.load(this.words, FILE_TABLE.HIGH_WATER);
    for (let id = 1; id <= count; id++) this.lock(id).breakFor(thread);
  }

  wakeAll(): void {
    const count = Atomics.load(this.words, FILE_TABLE.HIGH_WATER);
    for (let id = 1; id <= count; id++) this.lock(id).wakeAll();
  }

  #record(id: number): number {
    return FILE_TABLE.RECORDS + (id - 1) * WORDS;
  }

  #raiseHighWater(id: number): void {
    for (;;) {
      const seen = Atomics.load(this.words, FILE_TABLE.HIGH_WATER);
      if (seen >= id) return;
      if (Atomics.compareExchange(this.words, FILE_TABLE.HIGH_WATER, seen, id) === seen) return;
    }
  }
}
