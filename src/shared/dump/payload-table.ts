/**
 * Payloads of an image whose checksums are to be verified: written by the main thread, claimed in
 * units by the workers, each of which fills in what it found.
 */
import { assert } from '../assert.ts';
import { readU64, writeU64 } from '../u64.ts';

export const PAYLOAD = {
  OFFSET: 0, // byte of the image, u64
  BYTES: 2, //  below 2^31
  CRC: 3, //    crc32 as stored
  FOUND: 4, //  crc32 of the bytes; written by the worker
  WORDS: 8,
} as const;

const { OFFSET, BYTES, CRC, FOUND, WORDS } = PAYLOAD;

export function payloadTableBytes(count: number): number {
  return count * WORDS * 4;
}

export class PayloadTable {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  set(index: number, offset: number, bytes: number, crc: number): void {
    assert(bytes >= 0 && bytes <= 0x7fff_ffff, 'a payload is longer than its table can say');
    const at = index * WORDS;
    writeU64(this.#words, at + OFFSET, offset);
    this.#words[at + BYTES] = bytes;
    this.#words[at + CRC] = crc | 0;
    this.#words[at + FOUND] = ~crc;
  }

  offset(index: number): number {
    return readU64(this.#words, index * WORDS + OFFSET);
  }

  bytes(index: number): number {
    return this.#words[index * WORDS + BYTES]!;
  }

  crc(index: number): number {
    return this.#words[index * WORDS + CRC]! >>> 0;
  }

  setFound(index: number, crc: number): void {
    this.#words[index * WORDS + FOUND] = crc | 0;
  }

  /** Not equal to `crc` while nobody has looked. */
  found(index: number): number {
    return this.#words[index * WORDS + FOUND]! >>> 0;
  }
}
