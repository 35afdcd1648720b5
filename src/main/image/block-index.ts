/** The blocks of an image in order of address, packed: an image may have millions. */
import type { IndexBudget } from './index-budget.ts';

/** What a block is. */
export const BLOCK = {
  DATA: 1, //  its bytes lie in the image
  ZERO: 2, //  zeros
  CLONE: 3, // the pages of an earlier mm
  GUARD: 4, // guard pages: no content
} as const;

export type BlockKind = (typeof BLOCK)[keyof typeof BLOCK];

export interface Block {
  readonly start: number; // page
  readonly pages: number;
  readonly kind: BlockKind;
  /** DATA: byte of the image at which its pages begin. CLONE: byte of the donor's MM object. */
  readonly source: number;
  /** DATA: crc32 over its pages, if it has one. */
  readonly crc: number;
  readonly hasCrc: boolean;
  /** The pages are the mapped file's, although the mapping is private. */
  readonly isFilePages: boolean;
}

/** 8 + 8 + 4 + 4 + 1 in the arrays below. */
const BYTES_PER_BLOCK = 25;

const HAS_CRC = 0x10;
const FILE_PAGES = 0x20;
const KIND_MASK = 0xf;

export class BlockIndex {
  #starts = new Float64Array(64);
  #sources = new Float64Array(64);
  #pages = new Int32Array(64);
  #crcs = new Int32Array(64);
  #bits = new Uint8Array(64);
  #count = 0;
  readonly #budget: IndexBudget | undefined;

  /** What the index takes of memory is taken from `budget` before. */
  constructor(budget?: IndexBudget) {
    this.#budget = budget;
  }

  get count(): number {
    return this.#count;
  }

  add(block: Block): void {
    if (this.#count === this.#starts.length) this.#grow();
    const at = this.#count++;
    this.#starts[at] = block.start;
    this.#sources[at] = block.source;
    this.#pages[at] = block.pages;
    this.#crcs[at] = block.crc | 0;
    this.#bits[at] =
      block.kind | (block.hasCrc ? HAS_CRC : 0) | (block.isFilePages ? FILE_PAGES : 0);
  }

  at(index: number): Block {
    const bits = this.#bits[index]!;
    return {
      start: this.#starts[index]!,
      pages: this.#pages[index]!,
      kind: (bits & KIND_MASK) as BlockKind,
      source: this.#sources[index]!,
      crc: this.#crcs[index]! >>> 0,
      hasCrc: (bits & HAS_CRC) !== 0,
      isFilePages: (bits & FILE_PAGES) !== 0,
    };
  }

  /** Its bytes are in the image, and so is their crc32. */
  isChecked(index: number): boolean {
    return (this.#bits[index]! & (KIND_MASK | HAS_CRC)) === (BLOCK.DATA | HAS_CRC);
  }

  pages(index: number): number {
    return this.#pages[index]!;
  }

  source(index: number): number {
    return this.#sources[index]!;
  }

  crc(index: number): number {
    return this.#crcs[index]! >>> 0;
  }

  /** The block that holds page `vpn`, or undefined. */
  find(vpn: number): Block | undefined {
    const index = this.firstFrom(vpn);
    if (index === this.#count || this.#starts[index]! > vpn) return undefined;
    return this.at(index);
  }

  /** Index of the first block that ends after page `vpn`. */
  firstFrom(vpn: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! + this.#pages[middle]! > vpn) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #grow(): void {
    const length = this.#starts.length * 2;
    this.#budget?.take((length / 2) * BYTES_PER_BLOCK);
    this.#starts = grown(new Float64Array(length), this.#starts);
    this.#sources = grown(new Float64Array(length), this.#sources);
    this.#pages = grown(new Int32Array(length), this.#pages);
    this.#crcs = grown(new Int32Array(length), this.#crcs);
    this.#bits = grown(new Uint8Array(length), this.#bits);
  }
}

function grown<T extends Float64Array | Int32Array | Uint8Array>(larger: T, old: T): T {
  larger.set(old);
  return larger;
}
