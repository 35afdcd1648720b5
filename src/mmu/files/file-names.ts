/**
 * The index of files by path: a hash table whose chains are doubly linked through the file records.
 * A file that is created with a name is in the index until its name is removed or the file is
 * freed. Several files may have the same path. The one that was created last is found first.
 *
 *   BUCKETS | 0 | 7 | 0 | …        id of the first file of the chain, 0 = none
 *                 └▶ record 7 ⇄ record 3        NEXT and PREV
 *
 * The lock of the file table protects buckets and links (`file-table.ts`). The callers of `add`,
 * `remove` and `find` hold it.
 */
import { assert } from '../../shared/assert.ts';

/** Where the index lies in the words of the file table. */
export interface NamesLayout {
  /** Word of bucket 0. */
  readonly buckets: number;
  /** Number of buckets, a power of two. */
  readonly count: number;
  /** Word that holds the start value of the hash. */
  readonly seed: number;
  /**
   * Words of NEXT and PREV that file 0 would have. Those of file n are n * stride words further.
   */
  readonly next: number;
  readonly previous: number;
  readonly stride: number;
}

/** The index of files by path. */
export class FileNames {
  #words: Int32Array;
  readonly #layout: NamesLayout;

  constructor(words: Int32Array, layout: NamesLayout) {
    this.#words = words;
    this.#layout = layout;
  }

  /** Drops the view once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    this.#words = new Int32Array();
  }

  /** Puts a file at the head of the chain of its path. File-table lock held. */
  add(id: number, path: Uint8Array): void {
    const words = this.#words;
    const bucket = this.#bucketOf(path);
    const head = words[bucket]!;
    words[this.#next(id)] = head;
    words[this.#previous(id)] = 0;
    if (head !== 0) words[this.#previous(head)] = id;
    words[bucket] = id;
  }

  /** Takes a file out of the chain of its path. File-table lock held. */
  remove(id: number, path: Uint8Array): void {
    const words = this.#words;
    const next = words[this.#next(id)]!;
    const previous = words[this.#previous(id)]!;
    if (previous === 0) {
      const bucket = this.#bucketOf(path);
      assert(words[bucket] === id, `file ${id} is not in the index of paths`);
      words[bucket] = next;
    } else {
      words[this.#next(previous)] = next;
    }
    if (next !== 0) words[this.#previous(next)] = previous;
  }

  /**
   * Returns the first file in the chain of a path for which `accepts` returns true, or 0. The chain
   * has files with other paths as well. File-table lock held.
   */
  find(path: Uint8Array, accepts: (id: number) => boolean): number {
    const words = this.#words;
    for (let id = words[this.#bucketOf(path)]!; id !== 0; id = words[this.#next(id)]!) {
      if (accepts(id)) return id;
    }
    return 0;
  }

  #next(id: number): number {
    return this.#layout.next + id * this.#layout.stride;
  }

  #previous(id: number): number {
    return this.#layout.previous + id * this.#layout.stride;
  }

  /**
   * FNV-1a from a secret start value of the machine, then the mix of MurmurHash3. Paths also come
   * from images, which might be made so that all their paths share one bucket of a known hash.
   */
  #bucketOf(path: Uint8Array): number {
    let hash = this.#words[this.#layout.seed]! ^ 0x811c9dc5;
    for (let at = 0; at < path.length; at++) {
      hash = Math.imul(hash ^ path[at]!, 0x01000193);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return this.#layout.buckets + ((hash ^ (hash >>> 16)) & (this.#layout.count - 1));
  }
}
