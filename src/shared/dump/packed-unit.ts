/**
 * The payloads of the blocks of one unit, in the order of the image, as a worker has compressed them
 * before it knew where the unit begins. If a counting pass comes first, they are kept in shared
 * memory for the pass that writes: compressing once more would take as long again, and might give
 * other lengths where pages are written meanwhile.
 */

/** The words of a block in a packed unit. */
export const PACKED_BLOCK = {
  BYTES: 0, // length of its payload without the pad: of a zstd frame, or of the pages
  LOW: 1, //   halves of the digest of its pages
  HIGH: 2,
  WORDS: 3,
} as const;

const { BYTES, LOW, HIGH, WORDS } = PACKED_BLOCK;

/** A packed unit as it is sent. Both views show shared memory, and nobody writes it any more. */
export interface KeptUnit {
  readonly unit: number;
  readonly blocks: Int32Array;
  readonly payloads: Uint8Array;
}

/** The payloads of a unit: `add` for each block, then `next` for each block. */
export class PackedUnit {
  /** The payload of the block at hand, and the digest of its pages. */
  payload: Uint8Array = new Uint8Array();
  low = 0;
  high = 0;
  #blocks: Int32Array = new Int32Array(64 * WORDS);
  #payloads: Uint8Array = new Uint8Array(0x10_0000);
  #count = 0;
  #bytes = 0;
  #read = 0;
  #readBytes = 0;

  /** A unit that was kept. */
  static of({ blocks, payloads }: KeptUnit): PackedUnit {
    const unit = new PackedUnit();
    unit.#blocks = blocks;
    unit.#payloads = payloads;
    unit.#count = blocks.length / WORDS;
    return unit;
  }

  clear(): void {
    this.#count = 0;
    this.#bytes = 0;
    this.#read = 0;
    this.#readBytes = 0;
  }

  /** Adds a block with a copy of its payload. */
  add(payload: Uint8Array, low: number, high: number): void {
    const at = this.#count++ * WORDS;
    if (at === this.#blocks.length) {
      const longer = new Int32Array(at * 2);
      longer.set(this.#blocks);
      this.#blocks = longer;
    }
    this.#blocks[at + BYTES] = payload.length;
    this.#blocks[at + LOW] = low | 0;
    this.#blocks[at + HIGH] = high | 0;
    const end = this.#bytes + payload.length;
    if (end > this.#payloads.length) {
      const longer = new Uint8Array(Math.max(end, this.#payloads.length * 2));
      longer.set(this.#payloads.subarray(0, this.#bytes));
      this.#payloads = longer;
    }
    this.#payloads.set(payload, this.#bytes);
    this.#bytes = end;
  }

  /** Goes to the next block. Precondition: there is one. */
  next(): void {
    const at = this.#read++ * WORDS;
    const from = this.#readBytes;
    this.#readBytes += this.#blocks[at + BYTES]!;
    this.payload = this.#payloads.subarray(from, this.#readBytes);
    this.low = this.#blocks[at + LOW]!;
    this.high = this.#blocks[at + HIGH]!;
  }

  /** A copy of the unit in shared memory. */
  kept(unit: number): KeptUnit {
    const words = this.#count * WORDS;
    const blocks = new Int32Array(new SharedArrayBuffer(words * 4));
    blocks.set(this.#blocks.subarray(0, words));
    const payloads = new Uint8Array(new SharedArrayBuffer(this.#bytes));
    payloads.set(this.#payloads.subarray(0, this.#bytes));
    return { unit, blocks, payloads };
  }
}
