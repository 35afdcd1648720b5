/**
 * Where the pages of an image lie, for every thread of a machine. The table is one block of the
 * machine's store, since the threads that are attached already can reach no other memory:
 *
 *   | header | a row for each block | a row for each source | descriptors | kernel | names |
 *
 * A source is an image that stores pages: a file, or several parts. Source 0 is the image itself,
 * and its ancestors follow. The kernel is the WebAssembly module that computes XXH3, which code of
 * this room could not find by itself. The place of a page is its number among all pages of the
 * blocks, so pages that are neighbours in a block are neighbours in the backing. Immutable once it
 * is in the store.
 */
import { DIGEST as DIGEST_KIND, type DigestKind } from '../../shared/digest/digest-kind.ts';
import { GRANULE_PAGES, PAGE_SIZE } from '../../shared/page.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';

/** Words of the header of an ImageTable. */
export const IMAGE_TABLE = {
  BLOCKS: 0, //       number of rows of blocks
  SOURCES: 1, //      number of rows of sources
  FDS: 2, //          number of descriptors
  KERNEL_BYTES: 3, // 0 if the image has no XXH3
  NAMES_BYTES: 4, //  of all names
  WORDS: 8,
} as const;

/** Words of the row of a block. */
export const IMAGE_BLOCK = {
  FIRST: 0, //   place of its first page, u64
  OFFSET: 2, //  byte of the source at which its payload begins, u64
  START: 4, //   page at which the mm shows it, u64
  SOURCE: 6, //  index of the source
  PAGES: 7, //   at most 512
  DIGEST: 8, //  DigestKind
  LOW: 9, //     halves of the digest of its pages
  HIGH: 10,
  MM: 11, //     ordinal of the mm in the image
  PACKED: 12, // length of the zstd frame that is its payload, or 0
  WORDS: 13,
} as const;

/** Words of the row of a source. */
export const IMAGE_SOURCE = {
  FIRST_FD: 0, //   index of its first descriptor
  FDS: 1, //        number of its descriptors
  PART_BYTES: 2, // bytes of every file but the last, u64; 0 = there is one file
  NAME: 4, //       byte of the names at which its name begins, UTF-8
  NAME_BYTES: 5,
  WORDS: 6,
} as const;

const { BLOCKS, SOURCES, FDS, KERNEL_BYTES, NAMES_BYTES, WORDS: HEAD_WORDS } = IMAGE_TABLE;
const { FIRST, OFFSET, START, SOURCE, PAGES, DIGEST, LOW, HIGH, MM, WORDS: ROW } = IMAGE_BLOCK;
const { PACKED } = IMAGE_BLOCK;
const { FIRST_FD, FDS: FD_COUNT, PART_BYTES, WORDS: SOURCE_WORDS } = IMAGE_SOURCE;
const { NAME, NAME_BYTES } = IMAGE_SOURCE;
const { XXH3 } = DIGEST_KIND;

/** A block, as the table is told of it. */
export interface TableBlock {
  readonly mm: number;
  readonly start: number; // page
  readonly pages: number;
  readonly source: number; // index of the source
  readonly offset: number;
  readonly packed: number;
  readonly digest: DigestKind;
  readonly low: number;
  readonly high: number;
}

/** Files that hold an image together: one, or parts of `partBytes` bytes. */
export interface TableSource {
  /** Of the image, for messages. */
  readonly name: string;
  readonly fds: readonly number[];
  /** 0 if there is one file. */
  readonly partBytes: number;
}

/** Collects the blocks of a table, and builds it when all are there. */
export class ImageTableWriter {
  #rows = new Int32Array(64 * ROW);
  #count = 0;
  #pages = 0;
  #hasXxh3 = false;

  /** Whether a block has a digest that the kernel computes. */
  get hasXxh3(): boolean {
    return this.#hasXxh3;
  }

  /** Adds the next block, and returns the place of its first page. */
  add(block: TableBlock): number {
    const at = this.#count++ * ROW;
    if (at === this.#rows.length) {
      const larger = new Int32Array(at * 2);
      larger.set(this.#rows);
      this.#rows = larger;
    }
    const words = this.#rows;
    const place = this.#pages;
    writeU64(words, at + FIRST, place);
    writeU64(words, at + OFFSET, block.offset);
    writeU64(words, at + START, block.start);
    words[at + SOURCE] = block.source;
    words[at + PAGES] = block.pages;
    words[at + DIGEST] = block.digest;
    words[at + LOW] = block.low | 0;
    words[at + HIGH] = block.high | 0;
    words[at + MM] = block.mm;
    words[at + PACKED] = block.packed;
    this.#pages += block.pages;
    this.#hasXxh3 ||= block.digest === XXH3;
    return place;
  }

  /** The table. `kernel` has the bytes of the module xxh3-inside; empty unless `hasXxh3`. */
  finish(sources: readonly TableSource[], kernel: Uint8Array): Uint8Array {
    const fds = sources.flatMap((source) => source.fds);
    const names = sources.map(({ name }) => Buffer.from(name));
    const namesBytes = names.reduce((sum, name) => sum + name.length, 0);
    const rows = this.#count * ROW;
    const sourcesAt = HEAD_WORDS + rows;
    const fdsAt = sourcesAt + sources.length * SOURCE_WORDS;
    const kernelAt = (fdsAt + fds.length) * 4;
    const bytes = new Uint8Array(kernelAt + Math.ceil((kernel.length + namesBytes) / 4) * 4);
    const words = new Int32Array(bytes.buffer);
    words[BLOCKS] = this.#count;
    words[SOURCES] = sources.length;
    words[FDS] = fds.length;
    words[KERNEL_BYTES] = kernel.length;
    words[NAMES_BYTES] = namesBytes;
    words.set(this.#rows.subarray(0, rows), HEAD_WORDS);
    let fd = 0;
    let name = 0;
    for (const [index, source] of sources.entries()) {
      const at = sourcesAt + index * SOURCE_WORDS;
      const encoded = names[index]!;
      words[at + FIRST_FD] = fd;
      words[at + FD_COUNT] = source.fds.length;
      writeU64(words, at + PART_BYTES, source.partBytes);
      words[at + NAME] = name;
      words[at + NAME_BYTES] = encoded.length;
      bytes.set(encoded, kernelAt + kernel.length + name);
      fd += source.fds.length;
      name += encoded.length;
    }
    words.set(fds, fdsAt);
    bytes.set(kernel, kernelAt);
    return bytes;
  }
}

/**
 * Reads a table in the store. Its bytes mean something else once the backing is released: then no
 * number is what it was, but none leads out of bounds either.
 */
export class ImageTable {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #blocks: number;
  readonly #sourcesAt: number;
  readonly #fdsAt: number;
  readonly #kernelBytes: number;

  /** `bytes` is a view of the store, aligned to words. */
  constructor(bytes: Uint8Array) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
    this.#words = words;
    this.#bytes = bytes;
    this.#blocks = words[BLOCKS]!;
    this.#sourcesAt = HEAD_WORDS + this.#blocks * ROW;
    this.#fdsAt = this.#sourcesAt + words[SOURCES]! * SOURCE_WORDS;
    this.#kernelBytes = words[KERNEL_BYTES]!;
  }

  /** The row of the block that holds the page at `place`; -1 if there is none. */
  find(place: number): number {
    let low = 0;
    let high = this.#blocks;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.first(middle) + this.pages(middle) > place) high = middle;
      else low = middle + 1;
    }
    return low < this.#blocks && this.first(low) <= place ? low : -1;
  }

  first(row: number): number {
    return readU64(this.#words, HEAD_WORDS + row * ROW + FIRST);
  }

  /** At most 512, whatever the words say. */
  pages(row: number): number {
    return Math.min(GRANULE_PAGES, this.#words[HEAD_WORDS + row * ROW + PAGES]! >>> 0);
  }

  /** Byte of the source at which the payload of the block begins. */
  offset(row: number): number {
    return readU64(this.#words, HEAD_WORDS + row * ROW + OFFSET);
  }

  /** Length of the zstd frame of the block, which is shorter than its pages; 0 if it has none. */
  packed(row: number): number {
    const packed = this.#words[HEAD_WORDS + row * ROW + PACKED]! >>> 0;
    return Math.min(packed, this.pages(row) * PAGE_SIZE);
  }

  /** Page at which the mm shows the block. */
  start(row: number): number {
    return readU64(this.#words, HEAD_WORDS + row * ROW + START);
  }

  mm(row: number): number {
    return this.#words[HEAD_WORDS + row * ROW + MM]!;
  }

  digest(row: number): DigestKind {
    return this.#words[HEAD_WORDS + row * ROW + DIGEST]! as DigestKind;
  }

  low(row: number): number {
    return this.#words[HEAD_WORDS + row * ROW + LOW]! >>> 0;
  }

  high(row: number): number {
    return this.#words[HEAD_WORDS + row * ROW + HIGH]! >>> 0;
  }

  /** Number of the first descriptor of the source of a block. */
  firstFd(row: number): number {
    return this.#words[this.#sourceAt(row) + FIRST_FD]!;
  }

  /** Bytes of every file of the source of a block but the last; 0 if there is one file. */
  partBytes(row: number): number {
    return readU64(this.#words, this.#sourceAt(row) + PART_BYTES);
  }

  /** The descriptor with this number; -1 if there is none. */
  fd(index: number): number {
    return this.#words[this.#fdsAt + index] ?? -1;
  }

  get hasKernel(): boolean {
    return this.#kernelBytes > 0;
  }

  /** The bytes of the module xxh3-inside, copied. */
  kernel(): Uint8Array {
    const at = this.#kernelAt();
    return this.#bytes.slice(at, at + this.#kernelBytes);
  }

  /** Name of the source of a block, for messages; that of source 0 without a block. */
  name(row?: number): string {
    const words = this.#words;
    const source = row === undefined ? this.#sourcesAt : this.#sourceAt(row);
    const at = this.#kernelAt() + this.#kernelBytes + words[source + NAME]!;
    return Buffer.from(this.#bytes.subarray(at, at + words[source + NAME_BYTES]!)).toString();
  }

  #kernelAt(): number {
    return (this.#fdsAt + this.#words[FDS]!) * 4;
  }

  #sourceAt(row: number): number {
    return this.#sourcesAt + this.#words[HEAD_WORDS + row * ROW + SOURCE]! * SOURCE_WORDS;
  }
}
