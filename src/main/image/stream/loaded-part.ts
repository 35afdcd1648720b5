/** The part of an image that a walk over its records has loaded. */
import { KiB, MiB } from '../../../shared/page.ts';
import type { ByteSource } from '../source/byte-source.ts';

/** Bytes of a part: the least for headers that are far apart, the most for one read of a file. */
const LEAST_PART = 8 * KiB;
const LARGEST_PART = MiB;
/** A part that follows the last one is this many times as large. */
const GROWTH = 4;

/**
 * The largest buffer of a walk that has ended. Memory that was touched before is several times as
 * fast, and a chain of images has many walks.
 */
let spare = new Uint8Array(0);

const NO_CHUNKS = { chunks: [], chunkBytes: 1 } as const;

/**
 * A part of the image that is loaded. Headers are small, and they are either close together or far
 * apart. So the part grows while the walk goes on behind it, and shrinks when the walk leaps
 * beyond its end. An image in memory is read in place.
 */
export class LoadedPart {
  readonly #source: ByteSource;
  readonly #chunks: readonly Uint8Array[];
  readonly #chunkBytes: number;
  #buffer = spare;
  #size = LEAST_PART;
  #start = 0;
  #length = 0;

  constructor(source: ByteSource) {
    this.#source = source;
    spare = new Uint8Array(0); // walks that go on at the same time have their own
    const { reach } = source;
    const { chunks, chunkBytes } = reach.kind === 'memory' ? reach.image : NO_CHUNKS;
    this.#chunks = chunks;
    this.#chunkBytes = chunkBytes;
  }

  /**
   * Up to `length` bytes from `offset` on, fewer only at the end of the image. Returns undefined if
   * they have to be loaded first.
   */
  peek(offset: number, length: number): Uint8Array | undefined {
    const wanted = Math.min(length, this.#source.bytes - offset);
    const from = offset - this.#start;
    if (from >= 0 && from + wanted <= this.#length) {
      return this.#buffer.subarray(from, from + wanted);
    }
    const at = offset % this.#chunkBytes;
    const chunk = this.#chunks[Math.floor(offset / this.#chunkBytes)];
    if (chunk === undefined || at + wanted > chunk.length) return undefined;
    return chunk.subarray(at, at + wanted);
  }

  async load(offset: number): Promise<void> {
    const isNext = offset <= this.#start + this.#length;
    this.#size = isNext
      ? Math.min(this.#size * GROWTH, LARGEST_PART)
      : Math.max(this.#size / GROWTH, LEAST_PART);
    const length = Math.min(this.#size, this.#source.bytes - offset);
    if (length > this.#buffer.length) this.#buffer = new Uint8Array(length);
    this.#length = 0;
    await this.#source.read(this.#buffer.subarray(0, length), offset);
    this.#start = offset;
    this.#length = length;
  }
  /** Leaves the buffer to the next walk. Nobody has a view of it any more. */
  end(): void {
    if (this.#buffer.length > spare.length) spare = this.#buffer;
  }
}
