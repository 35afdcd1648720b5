/**
 * The store of a machine: byte strings of any length that every thread can reach. It keeps paths,
 * contents of simulated files on "disk", auxiliary vectors and notes.
 *
 * The store is a row of blocks without gaps. A block begins with a header of one unit, 16 bytes:
 *
 *   | SIZE BEFORE NEXT PREV | bytes … | SIZE BEFORE NEXT PREV | bytes … | …
 *
 * Free blocks are linked in lists, one list per size class. Two free blocks are never neighbours: a
 * block that becomes free is joined with the free blocks before and after it.
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
import { spinLock, spinUnlock } from '../../shared/sync/spin-lock.ts';
import { RANK, type ThreadTable } from '../../shared/sync/thread-table.ts';

/** Number of size classes: four per power of two, up to blocks of 2^28 units. */
const CLASSES = 116;

/** Words of the store, in the control block of the machine. */
export const STORE = {
  LOCK: 0, //    spin lock, rank STORE: protects the lists, and the headers except references
  FREE: 1, //    free units, headers included; protected by LOCK, read without it as a hint
  HEADS: 16, //  116 words (CLASSES): unit of the first free block of a class, plus 1; LOCK
  WORDS: 144,
} as const;

/** Words of the header of a block. NEXT of a block in use is its number of references. */
export const STORE_BLOCK = {
  SIZE: 0, //   units, the header included; negative while the block is in use; store lock
  BEFORE: 1, // units of the block before this one; 0 = this is the first block; store lock
  NEXT: 2, //   free: unit of the next block of the class, plus 1; store lock · in use: Atomics only
  PREV: 3, //   free: unit of the previous block of the class, plus 1; store lock
  WORDS: 4,
} as const;

const { LOCK, FREE, HEADS } = STORE;
const { SIZE, BEFORE, NEXT, PREV } = STORE_BLOCK;

const UNIT = 16; //      bytes of a unit, and of a header
const UNIT_WORDS = 4;
/** How many blocks of a request's own class are tried before one of a larger class is cut. */
const LOOKS = 16;

/** Size class of a block. Every block of a later class is larger than every block of this one. */
function classOf(units: number): number {
  const power = 31 - Math.clz32(units);
  const quarter = power < 2 ? 0 : (units >>> (power - 2)) & 3;
  return power * 4 + quarter;
}

/** The store of a machine as one thread sees it. */
export class Store {
  readonly #words: Int32Array; // the control block
  readonly #base: number;
  #bytes: Uint8Array;
  #headers: Int32Array;
  readonly #units: number;
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
    this.#units = Math.floor(buffer.byteLength / UNIT);
    this.#bytes = new Uint8Array(buffer);
    this.#headers = new Int32Array(buffer, 0, this.#units * UNIT_WORDS);
    this.#threads = threads;
    this.#mayBlock = mayBlock;
  }

  /** Makes one free block of the whole store. The creator of the machine calls it once. */
  initialise(): void {
    this.#push(0, this.#units);
    this.#words[this.#base + FREE] = this.#units;
  }

  /** Bytes of the store. A string takes its length, rounded up to 16 bytes, and a header of 16. */
  get total(): number {
    return this.#units * UNIT;
  }

  /** Bytes of the free blocks, headers included. They may lie in several places. */
  get free(): number {
    return Atomics.load(this.#words, this.#base + FREE) * UNIT;
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
    const unit = this.#take(units);
    this.#unlock(thread);
    if (unit < 0) throw this.#full(bytes.length);
    const at = (unit + 1) * UNIT;
    this.#bytes.set(bytes, at);
    return at;
  }

  /** Drops the views once the machine is closed. No method may be called afterwards. */
  letGo(): void {
    this.#bytes = new Uint8Array();
    this.#headers = new Int32Array();
  }

  /** Takes another reference. The caller has one, or holds a lock under which none is dropped. */
  get(at: number): void {
    if (at !== 0) Atomics.add(this.#headers, headerOf(at) + NEXT, 1);
  }

  /** Drops a reference. The last one frees the block. The thread is inside the freeze gate. */
  put(at: number, thread: number): void {
    if (at === 0) return;
    this.#threads.assertInside(thread, 'bytes of the store are given back');
    const before = Atomics.sub(this.#headers, headerOf(at) + NEXT, 1);
    assert(before > 0, `bytes at ${at} of the store are released more often than they were taken`);
    if (before > 1) return;
    this.#lock(thread);
    this.#release(at / UNIT - 1);
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
      return this.#walk();
    } finally {
      this.#unlock(thread);
    }
  }

  #walk(): number[] {
    const listed = new Map<number, number>();
    for (let list = 0; list < CLASSES; list++) {
      for (
        let unit = this.#head(list) - 1;
        unit >= 0;
        unit = this.#headers[word(unit, NEXT)]! - 1
      ) {
        listed.set(unit, list);
      }
    }
    const free: number[] = [];
    let before = 0;
    for (let unit = 0; unit < this.#units; ) {
      const size = this.#headers[word(unit, SIZE)]!;
      const units = Math.abs(size);
      assert(units > 0 && this.#headers[word(unit, BEFORE)] === before, `header of unit ${unit}`);
      assert(listed.get(unit) === (size > 0 ? classOf(size) : undefined), `list of unit ${unit}`);
      if (size > 0) {
        assert(before === 0 || this.#headers[word(unit - before, SIZE)]! < 0, 'not joined');
        free.push(size);
      }
      before = units;
      unit += units;
    }
    assert(free.length === listed.size, 'a list holds what is no block');
    const sum = free.reduce((units, size) => units + size, 0);
    assert(sum === this.#words[this.#base + FREE], `${sum} units are free`);
    return free;
  }

  /**
   * Takes a block of `units` units into use, with one reference, and returns its unit, or -1 when
   * no free block is large enough. Store lock held.
   */
  #take(units: number): number {
    const unit = this.#find(units);
    if (unit < 0) return -1;
    const size = this.#headers[word(unit, SIZE)]!;
    this.#unlink(unit, size);
    if (size > units) {
      this.#headers[word(unit + units, BEFORE)] = units;
      this.#push(unit + units, size - units);
    }
    this.#headers[word(unit, SIZE)] = -units;
    this.#headers[word(unit, PREV)] = 0;
    Atomics.store(this.#headers, word(unit, NEXT), 1);
    this.#words[this.#base + FREE]! -= units;
    return unit;
  }

  /** Unit of a free block that is large enough, or -1. Store lock held. */
  #find(units: number): number {
    const own = classOf(units);
    const near = this.#firstFit(own, units, LOOKS);
    if (near >= 0) return near;
    for (let list = own + 1; list < CLASSES; list++) {
      if (this.#head(list) !== 0) return this.#head(list) - 1;
    }
    return this.#firstFit(own, units, Number.POSITIVE_INFINITY);
  }

  /** Unit of the first large enough block among the first `looks` of a list, or -1. */
  #firstFit(list: number, units: number, looks: number): number {
    let unit = this.#head(list) - 1;
    for (let look = 0; unit >= 0 && look < looks; look++) {
      if (this.#headers[word(unit, SIZE)]! >= units) return unit;
      unit = this.#headers[word(unit, NEXT)]! - 1;
    }
    return -1;
  }

  /** Joins a block with its free neighbours and puts the result on its list. Store lock held. */
  #release(unit: number): void {
    const units = -this.#headers[word(unit, SIZE)]!;
    assert(units > 0, `unit ${unit} of the store is freed twice`);
    this.#words[this.#base + FREE]! += units;
    let first = unit;
    let size = units;
    const next = unit + units;
    const nextSize = next < this.#units ? this.#headers[word(next, SIZE)]! : 0;
    if (nextSize > 0) {
      this.#unlink(next, nextSize);
      size += nextSize;
    }
    const before = this.#headers[word(unit, BEFORE)]!;
    if (before > 0 && this.#headers[word(unit - before, SIZE)]! > 0) {
      first = unit - before;
      this.#unlink(first, before);
      size += before;
    }
    this.#push(first, size);
  }

  #head(list: number): number {
    return this.#words[this.#base + HEADS + list]!;
  }

  /** Makes the units [unit, unit + size) a free block. Its BEFORE is set already. */
  #push(unit: number, size: number): void {
    const at = this.#base + HEADS + classOf(size);
    const head = this.#words[at]!;
    this.#headers[word(unit, SIZE)] = size;
    this.#headers[word(unit, NEXT)] = head;
    this.#headers[word(unit, PREV)] = 0;
    if (head !== 0) this.#headers[word(head - 1, PREV)] = unit + 1;
    this.#words[at] = unit + 1;
    const next = unit + size;
    if (next < this.#units) this.#headers[word(next, BEFORE)] = size;
  }

  /** Takes a free block of `size` units out of its list. */
  #unlink(unit: number, size: number): void {
    const next = this.#headers[word(unit, NEXT)]!;
    const previous = this.#headers[word(unit, PREV)]!;
    if (previous === 0) this.#words[this.#base + HEADS + classOf(size)] = next;
    else this.#headers[word(previous - 1, NEXT)] = next;
    if (next !== 0) this.#headers[word(next - 1, PREV)] = previous;
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

/** Index in the headers of a field of the block at `unit`. */
function word(unit: number, field: number): number {
  return unit * UNIT_WORDS + field;
}

/** Index in the headers of the header of the block whose place is `at`. */
function headerOf(at: number): number {
  return at / 4 - UNIT_WORDS;
}
