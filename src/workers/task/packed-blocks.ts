/** Decompresses blocks of an image for a worker, which keeps the last one. */
import { MmdumpError } from '../../shared/errors.ts';
import { packedRoom, unpackBlock } from '../../shared/zstd.ts';
import type { Reader } from './read-at.ts';

/** Blocks of one source. */
export class PackedBlocks {
  readonly #reader: Reader;
  #frame = new Uint8Array(0);
  #pages = new Uint8Array(0);
  /** Byte of the source at which the payload of the last block begins; -1: there is none. */
  #offset = -1;
  #bytes = 0;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /**
   * The `bytes` bytes of the pages of the block whose frame of `packed` bytes lies at byte `offset`.
   * They are valid until the next call. Throws IMAGE_CORRUPT if the frame does not hold them,
   * ZSTD_MISSING, and the errors of Reader.read.
   */
  pages(offset: number, packed: number, bytes: number): Uint8Array {
    if (offset === this.#offset && bytes === this.#bytes) return this.#pages.subarray(0, bytes);
    this.#offset = -1;
    const room = packedRoom(packed);
    if (room > this.#frame.length) this.#frame = new Uint8Array(room);
    if (bytes > this.#pages.length) this.#pages = new Uint8Array(bytes);
    const frame = this.#frame.subarray(0, room);
    const pages = this.#pages.subarray(0, bytes);
    this.#reader.read(frame, 0, room, offset);
    const place = this.#reader.placeOf(offset);
    const reason = unpackBlock(frame, packed, pages, place.name);
    if (reason !== null) {
      const text = `${place.name}: payload at byte ${place.offset}: ${reason}`;
      throw new MmdumpError('IMAGE_CORRUPT', text, { offset: place.offset, reason });
    }
    this.#offset = offset;
    this.#bytes = bytes;
    return pages;
  }
}
