/** The blocks of an image in order of address, packed: an image may have millions. */
import type { Digest, DigestKind } from '../../../shared/digest/digest-kind.ts';
import type { IndexBudget } from './index-budget.ts';

/** What a block is. */
export const BLOCK = {
  DATA: 1, //  its bytes lie in the image
  ZERO: 2, //  zeros
  CLONE: 3, // the pages of an earlier mm
  GUARD: 4, // guard pages: no content
} as const;

export type BlockKind = (typeof BLOCK)[keyof typeof BLOCK];

/** Its digest is that of its pages, if it is DATA and has one. */
export interface Block extends Digest {
  readonly start: number; // page
  readonly pages: number;
  readonly kind: BlockKind;
  /** DATA: byte of the image at which its pages begin. CLONE: byte of the donor's MM object. */
  readonly source: number;
  /** The pages are the mapped file's, although the mapping is private. */
  readonly isFilePages: boolean;
}

/** 8 + 8 + 4 + 4 + 4 + 1 in the arrays below. */
const BYTES_PER_BLOCK = 29;

const DIGEST_SHIFT = 4; // two bits
const FILE_PAGES = 0x40;
const KIND_MASK = 0xf;

export class BlockIndex {
  #starts = new Float64Array(64);
  #sources = new Float64Array(64);
  #pages = new Int32Array(64);
  #lows = new Int32Array(64);
  #highs = new Int32Array(64);
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
    this.#lows[at] = block.low | 0;
    this.#highs[at] = block.high | 0;
    this.#bits[at] =
      block.kind | (block.digest << DIGEST_SHIFT) | (block.isFilePages ? FILE_PAGES : 0);
  }

  at(index: number): Block {
    const bits = this.#bits[index]!;
    return {
      start: this.#starts[index]!,
      pages: this.#pages[index]!,
      kind: (bits & KIND_MASK) as BlockKind,
      source: this.#sources[index]!,
      digest: ((bits >> DIGEST_SHIFT) & 3) as DigestKind,
      low: this.low(index),
      high: this.high(index),
      isFilePages: (bits & FILE_PAGES) !== 0,
    };
  }

  /** Of the block's bytes, if they are in the image. */
  digest(index: number): DigestKind {
    return ((this.#bits[index]! >> DIGEST_SHIFT) & 3) as DigestKind;
  }

  pages(index: number): number {
    return this.#pages[index]!;
  }

  source(index: number): number {
    return this.#sources[index]!;
  }

  low(index: number): number {
    return this.#lows[index]! >>> 0;
  }

  high(index: number): number {
    return this.#highs[index]! >>> 0;
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
    this.#lows = grown(new Int32Array(length), this.#lows);
    this.#highs = grown(new Int32Array(length), this.#highs);
    this.#bits = grown(new Uint8Array(length), this.#bits);
  }
}

function grown<T extends Float64Array | Int32Array | Uint8Array>(larger: T, old: T): T {
  larger.set(old);
  return larger;
}
