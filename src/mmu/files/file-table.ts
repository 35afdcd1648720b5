/**
 * The files that an mm can map: their names, kinds and sizes, and where their bytes come from. A
 * record is what Linux calls an inode. The bytes of the path and of the content lie in the store.
 * The page cache is a tree of simulated frames (`page-cache.ts`).
 *
 * REFERENCES counts what keeps the file:
 *
 *   name             one if the file was created with NAMED; dropped by `unlink`
 *   open references  one per SimulatedFile object that is not closed; a restore or an import has
 *                    one of its own until its mappings exist
 *   mappings         one per VMA
 *
 *   REFERENCES:  0 ──create──▶ -1 ──fields are set──▶ 1 or 2 ⇄ n ──last put──▶ -1 ──freed──▶ 0
 *                (free list)
 *   name:        LIVING, in the index of paths ──unlink──▶ DELETED     (KIND; there is no way back)
 *
 * So an ordinary file lives until it has no name, no open reference and no mapping. A file of the
 * host, or one that a restore or an import created, is not NAMED, since its name belongs to the
 * host. Its record is freed with its last open reference or mapping.
 *
 * The table lock protects the free list and the index of paths. A thread that dies between two
 * steps of a creation or of the last put leaves a record that can no longer be found, but no other
 * damage.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';
import { FileNames } from './file-names.ts';
import { CLAIMED, FILE_KIND, FILE_RECORD, FILE_TABLE, FileRecords } from './file-record.ts';
import type { Store } from './store.ts';

/** The most files that a machine can have at the same time. */
export const FILES_MAX = 65_536;

const { REFERENCES, KIND, BACKING, SIZE, PATH_AT, PATH_BYTES } = FILE_RECORD;
const { CONTENT_AT, CACHE_HEIGHT, CACHE_ROOT, CACHE_PAGES, NEXT, PREV, WORDS } = FILE_RECORD;
const { HIGH_WATER, LOCK, FREE, SEED, DEV_ZERO_AT, RECORDS } = FILE_TABLE;

/** Number of words of a table for `files` files, which must be a power of two. */
export function fileTableWords(files: number): number {
  return RECORDS + files * (WORDS + 1); // one record and one bucket per file
}

/** The path of shared anonymous memory. Very many files have it, so the store keeps it once. */
export const DEV_ZERO: Uint8Array = Buffer.from('/dev/zero');

/** The fields of a new file. */
export interface FileFields {
  readonly path: Uint8Array; // raw bytes, as the file system has them
  readonly kind: number;
  readonly backing: number;
  readonly size: number; //     bytes
  readonly content?: Uint8Array; // BACKING = STORE: its bytes; else a list of `file-places.ts`
}

/** The file table of a machine as one thread sees it. */
export class FileTable extends FileRecords {
  readonly #mayBlock: boolean;
  readonly #names: FileNames;

  constructor(
    words: Int32Array,
    base: number,
    capacity: number,
    store: Store,
    threads: ThreadTable,
    mayBlock: boolean,
  ) {
    super(words, base, capacity, store, threads);
    this.#mayBlock = mayBlock;
    this.#names = new FileNames(words, {
      buckets: base + RECORDS + capacity * WORDS,
      count: capacity,
      seed: base + SEED,
      next: base + RECORDS - WORDS + NEXT,
      previous: base + RECORDS - WORDS + PREV,
      stride: WORDS,
    });
  }

  override dropViews(): void {
    super.dropViews();
    this.#names.dropViews();
  }

  /** The creator of the machine calls it once. `seed` is 32 random bits. */
  initialise(seed: number, thread: number): void {
    this.words[this.base + SEED] = seed;
    writeU64(this.words, this.base + DEV_ZERO_AT, this.store.add(DEV_ZERO, thread));
  }

  /**
   * Adds a file and returns its id, which is at least 1. The file has one open reference, which
   * belongs to the caller, and one of its name if it is NAMED. Throws ENOSPC when the store is
   * full, and EMFILE when the machine has too many files. The thread is inside the freeze gate.
   */
  create(fields: FileFields, thread: number): number {
    this.threads.assertInside(thread, 'a new file');
    const pathAt = this.#addPath(fields.path, thread);
    let contentAt = 0;
    let id: number;
    try {
      contentAt = this.store.add(fields.content ?? NOTHING, thread);
      id = this.#claim(thread);
    } catch (error) {
      this.store.put(pathAt, thread);
      this.store.put(contentAt, thread);
      throw error;
    }
    const at = this.record(id);
    this.words[at + KIND] = fields.kind;
    this.words[at + BACKING] = fields.backing;
    this.words[at + PATH_BYTES] = fields.path.length;
    this.words[at + CACHE_HEIGHT] = 0;
    this.words[at + CACHE_ROOT] = 0;
    this.words[at + CACHE_PAGES] = 0;
    writeU64(this.words, at + SIZE, fields.size);
    writeU64(this.words, at + PATH_AT, pathAt);
    writeU64(this.words, at + CONTENT_AT, contentAt);
    const isNamed = (fields.kind & FILE_KIND.NAMED) !== 0;
    Atomics.store(this.words, at + REFERENCES, isNamed ? 2 : 1);
    if ((fields.kind & FILE_KIND.DELETED) === 0) {
      this.#lockTable(thread);
      this.#names.add(id, fields.path);
      this.#unlockTable(thread);
    }
    return id;
  }

  /** Keeps a path in the store and returns its place. Throws ENOSPC. */
  #addPath(path: Uint8Array, thread: number): number {
    if (Buffer.compare(path, DEV_ZERO) !== 0) return this.store.add(path, thread);
    const at = readU64(this.words, this.base + DEV_ZERO_AT);
    this.store.get(at);
    return at;
  }

  /** Takes a record for a new file. It is CLAIMED, so no other thread finds it. Throws EMFILE. */
  #claim(thread: number): number {
    const { words, base } = this;
    this.#lockTable(thread);
    let id = words[base + FREE]!;
    if (id !== 0) words[base + FREE] = words[this.record(id) + NEXT]!;
    else if (words[base + HIGH_WATER]! < this.capacity) {
      id = words[base + HIGH_WATER]! + 1;
      Atomics.store(words, base + HIGH_WATER, id);
    }
    if (id !== 0) Atomics.store(words, this.record(id) + REFERENCES, CLAIMED);
    this.#unlockTable(thread);
    if (id === 0) throw new MmdumpError('EMFILE', `a machine has at most ${this.capacity} files`);
    return id;
  }

  /**
   * Finds the living file with this path that was created last, and takes a reference to it.
   * Returns its id, or 0 when there is none.
   */
  open(path: Uint8Array, thread: number): number {
    this.#lockTable(thread);
    const id = this.#names.find(path, (id) => this.#isAt(id, path) && this.tryGet(id));
    this.#unlockTable(thread);
    return id;
  }

  #isAt(id: number, path: Uint8Array): boolean {
    if (this.words[this.record(id) + PATH_BYTES] !== path.length) return false;
    return Buffer.compare(this.path(id), path) === 0;
  }

  /**
   * Removes the name: no path leads to the file any more. Returns true when the caller must now
   * drop the reference of the name. Does nothing if the name was removed before. The caller has a
   * reference of its own, and its thread is inside the freeze gate.
   */
  unlink(id: number, thread: number): boolean {
    this.threads.assertInside(thread, 'a name is removed');
    const at = this.record(id);
    const before = Atomics.or(this.words, at + KIND, FILE_KIND.DELETED);
    if ((before & FILE_KIND.DELETED) !== 0) return false;
    const path = this.path(id);
    this.#lockTable(thread);
    this.#names.remove(id, path);
    this.#unlockTable(thread);
    return (before & FILE_KIND.NAMED) !== 0;
  }

  /**
   * Frees the record and its bytes in the store. The file is CLAIMED and its page cache is freed.
   */
  free(id: number, thread: number): void {
    const at = this.record(id);
    const path = this.path(id);
    const pathAt = readU64(this.words, at + PATH_AT);
    const contentAt = readU64(this.words, at + CONTENT_AT);
    this.#lockTable(thread);
    if ((this.words[at + KIND]! & FILE_KIND.DELETED) === 0) this.#names.remove(id, path);
    Atomics.store(this.words, at + REFERENCES, 0);
    this.words[at + NEXT] = this.words[this.base + FREE]!;
    this.words[this.base + FREE] = id;
    this.#unlockTable(thread);
    this.store.put(pathAt, thread);
    this.store.put(contentAt, thread);
  }

  /** Id of the thread that holds the table lock, or -1. */
  get tableLockOwner(): number {
    return Atomics.load(this.words, this.base + LOCK) - 1;
  }

  #lockTable(thread: number): void {
    spinLock(this.words, this.base + LOCK, thread, RANK.FILE_TABLE, this.threads, this.#mayBlock);
  }

  #unlockTable(thread: number): void {
    spinUnlock(this.words, this.base + LOCK, thread, RANK.FILE_TABLE, this.threads);
  }
}

const NOTHING = new Uint8Array();
