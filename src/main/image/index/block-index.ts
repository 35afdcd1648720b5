/** The blocks of an mm in order of address. They are packed, since there may be millions. */
import { DIGEST, type Digest, type DigestKind } from '../../../shared/digest/digest-kind.ts';
import type { IndexBudget } from './index-budget.ts';

/** Values of the kind of a block. */
export const BLOCK = {
  DATA: 1, //  the image stores the bytes
  ZERO: 2, //  the pages are zeros
  CLONE: 3, // an earlier mm stores the bytes
  GUARD: 4, // guard pages, which have no content
  PARENT: 5, // the parent image shows the pages at the same place
} as const;

export type BlockKind = (typeof BLOCK)[keyof typeof BLOCK];

/**
 * One block. A DATA block has the digest of its pages, unless the image has no digests. A PARENT
 * block has the digest of the digests of its pages (PageListDigest).
 */
export interface Block extends Digest {
  readonly start: number; // page
  readonly pages: number;
  readonly kind: BlockKind;
  /**
   * DATA: byte of the image at which the pages begin. CLONE: byte of the MM object of the donor.
   */
  readonly source: number;
  /** DATA: length of the zstd frame that is stored instead of the pages, or 0 if the pages are. */
  readonly packed: number;
  /** The mapping is private, and these are pages of the mapped file all the same. */
  readonly isFilePages: boolean;
}

/** Whether an image holds the bytes of a block: this image, or one of its ancestors. */
export function hasContent({ kind }: Block): boolean {
  return kind === BLOCK.DATA || kind === BLOCK.PARENT;
}

/** Bytes of one block in the arrays below: 8 + 8 + 4 + 4 + 4 + 1. */
const BYTES_PER_BLOCK = 29;

/** Bytes of one block in `#packed`. */
const BYTES_PER_PACKED = 4;

const DIGEST_SHIFT = 4; // DigestKind has two bits
const FILE_PAGES = 0x40;
const KIND_MASK = 0xf;

export class BlockIndex {
  #starts = new Float64Array(64);
  #sources = new Float64Array(64);
  #pages = new Int32Array(64);
  #lows = new Int32Array(64);
  #highs = new Int32Array(64);
  #bits = new Uint8Array(64);
  /** Undefined as long as no block is compressed. */
  #packed: Int32Array | undefined;
  #count = 0;
  readonly #budget: IndexBudget | undefined;

  /** The memory of the index is taken from `budget` before it is allocated. */
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
    if (block.packed > 0) this.#lengths()[at] = block.packed;
  }

  at(index: number): Block {
    const bits = this.#bits[index]!;
    return {
      start: this.#starts[index]!,
      pages: this.#pages[index]!,
      kind: (bits & KIND_MASK) as BlockKind,
      source: this.#sources[index]!,
      packed: this.packed(index),
      digest: ((bits >> DIGEST_SHIFT) & 3) as DigestKind,
      low: this.low(index),
      high: this.high(index),
      isFilePages: (bits & FILE_PAGES) !== 0,
    };
  }

  /** Kind of the digest of a block; NONE unless the image stores its bytes with a digest. */
  digest(index: number): DigestKind {
    const bits = this.#bits[index]!;
    if ((bits & KIND_MASK) === BLOCK.PARENT) return DIGEST.NONE;
    return ((bits >> DIGEST_SHIFT) & 3) as DigestKind;
  }

  pages(index: number): number {
    return this.#pages[index]!;
  }

  source(index: number): number {
    return this.#sources[index]!;
  }

  packed(index: number): number {
    return this.#packed === undefined ? 0 : this.#packed[index]!;
  }

  low(index: number): number {
    return this.#lows[index]! >>> 0;
  }

  high(index: number): number {
    return this.#highs[index]! >>> 0;
  }

  /** The block that holds page `vpn`; undefined if there is none. */
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

  /** The lengths of frames, by block. */
  #lengths(): Int32Array {
    if (this.#packed === undefined) {
      const { length } = this.#starts;
      this.#budget?.take(length * BYTES_PER_PACKED);
      this.#packed = new Int32Array(length);
    }
    return this.#packed;
  }

  #grow(): void {
    const length = this.#starts.length * 2;
    if (this.#packed !== undefined) {
      this.#budget?.take((length / 2) * BYTES_PER_PACKED);
      this.#packed = grown(new Int32Array(length), this.#packed);
    }
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
