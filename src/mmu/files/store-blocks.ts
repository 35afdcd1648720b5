/**
 * The blocks of a store (`store.ts`), and the lists of those that are free. The store is a row of
 * blocks without gaps. A block begins with a header of one unit, 16 bytes:
 *
 *   | SIZE BEFORE NEXT PREV | bytes … | SIZE BEFORE NEXT PREV | bytes … | …
 *
 * Free blocks are linked in lists, one list per size class. Two free blocks are never neighbours: a
 * block that becomes free is joined with the free blocks before and after it.
 *
 * Preconditions: the store lock is held, or no other thread knows the store yet. Only `free` and
 * the references of a block need no lock.
 */
import { assert } from '../../shared/assert.ts';

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

/** Bytes of a unit, and of a header. */
export const UNIT = 16;

const { FREE, HEADS } = STORE;
const { SIZE, BEFORE, NEXT, PREV, WORDS: UNIT_WORDS } = STORE_BLOCK;
/** How many blocks of a request's own class are tried before one of a larger class is cut. */
const LOOKS = 16;

/** Size class of a block. Every block of a later class is larger than every block of this one. */
function classOf(units: number): number {
  const power = 31 - Math.clz32(units);
  const quarter = power < 2 ? 0 : (units >>> (power - 2)) & 3;
  return power * 4 + quarter;
}

/** Index in the headers of a field of the block at `unit`. */
function word(unit: number, field: number): number {
  return unit * UNIT_WORDS + field;
}

/** The blocks of a store, by the unit at which each begins. */
export class StoreBlocks {
  readonly #words: Int32Array; // the control block
  readonly #base: number;
  /** The store as words, of which the headers of blocks are used. */
  #headers: Int32Array;
  /** Units of all blocks. */
  readonly units: number;

  constructor(words: Int32Array, base: number, buffer: SharedArrayBuffer) {
    this.#words = words;
    this.#base = base;
    this.units = Math.floor(buffer.byteLength / UNIT);
    this.#headers = new Int32Array(buffer, 0, this.units * UNIT_WORDS);
  }

  /** Makes one free block of the whole store. */
  initialise(): void {
    this.#push(0, this.units);
    this.#words[this.#base + FREE] = this.units;
  }

  /** Drops the view once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    this.#headers = new Int32Array();
  }

  /** Units of the free blocks, headers included. Without the lock it is a hint. */
  get free(): number {
    return Atomics.load(this.#words, this.#base + FREE);
  }

  /** Takes one more reference to a block in use. */
  get(unit: number): void {
    Atomics.add(this.#headers, word(unit, NEXT), 1);
  }

  /** Drops a reference to a block in use, and returns how many there were before. */
  dropReference(unit: number): number {
    return Atomics.sub(this.#headers, word(unit, NEXT), 1);
  }

  /**
   * Takes a block of `units` units into use, with one reference, and returns its unit, or -1 when
   * no free block is large enough.
   */
  take(units: number): number {
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

  /** Unit of a free block that is large enough, or -1. */
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

  /** Joins a block with its free neighbours and puts the result on its list. */
  release(unit: number): void {
    const units = -this.#headers[word(unit, SIZE)]!;
    assert(units > 0, `unit ${unit} of the store is freed twice`);
    this.#words[this.#base + FREE]! += units;
    let first = unit;
    let size = units;
    const next = unit + units;
    const nextSize = next < this.units ? this.#headers[word(next, SIZE)]! : 0;
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
    if (next < this.units) this.#headers[word(next, BEFORE)] = size;
  }

  /** Takes a free block of `size` units out of its list. */
  #unlink(unit: number, size: number): void {
    const next = this.#headers[word(unit, NEXT)]!;
    const previous = this.#headers[word(unit, PREV)]!;
    if (previous === 0) this.#words[this.#base + HEADS + classOf(size)] = next;
    else this.#headers[word(previous - 1, NEXT)] = next;
    if (next !== 0) this.#headers[word(next - 1, PREV)] = previous;
  }

  /**
   * Walks all blocks and lists, and throws where they contradict each other. Returns the size of
   * each free block, in units.
   */
  check(): number[] {
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
    for (let unit = 0; unit < this.units; ) {
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
}
