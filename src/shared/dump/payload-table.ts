/**
 * The payloads of an image whose digests are to be verified. The main thread writes the table.
 * Workers claim the payloads in units, and store the digest that they have computed for each.
 */
import { assert } from '../assert.ts';
import type { Digest, DigestKind } from '../digest/digest-kind.ts';
import { readU64, writeU64 } from '../u64.ts';

/** The words of a payload. */
export const PAYLOAD = {
  OFFSET: 0, // byte of the image, u64
  BYTES: 2, //  below 2^31
  KIND: 3, //   DigestKind
  STORED: 4, // digest in the image, u64 as low and high half
  FOUND: 6, //  digest that was computed, u64 in the same way; by the worker that claims the payload
  PACKED: 8, // length of the zstd frame at OFFSET that holds the payload, or 0
  WHOLE: 9, //  then: bytes that the frame has
  SKIP: 10, //  and those of them before the payload
  STATE: 11, // 1 if the frame does not have these bytes; by the worker that claims the payload
  WORDS: 12,
} as const;

const { OFFSET, BYTES, KIND, STORED, FOUND, PACKED, WHOLE, SKIP, STATE, WORDS } = PAYLOAD;

/** Bytes of a table of `count` payloads. */
export function payloadTableBytes(count: number): number {
  return count * WORDS * 4;
}

/** The table of payloads, over shared memory. */
export class PayloadTable {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /**
   * Writes a payload of `bytes` at byte `offset`. FOUND differs from STORED until it is computed.
   */
  set(
    index: number,
    offset: number,
    bytes: number,
    kind: DigestKind,
    low: number,
    high: number,
  ): void {
    assert(bytes >= 0 && bytes <= 0x7fff_ffff, 'a payload is longer than its table can say');
    const at = index * WORDS;
    writeU64(this.#words, at + OFFSET, offset);
    this.#words[at + BYTES] = bytes;
    this.#words[at + KIND] = kind;
    this.#words[at + STORED] = low | 0;
    this.#words[at + STORED + 1] = high | 0;
    this.#words[at + FOUND] = ~low;
    this.#words[at + FOUND + 1] = high | 0;
  }

  /** Says that the payload lies in a zstd frame, which has `whole` bytes; it follows `skip` of them. */
  setPacked(index: number, packed: number, whole: number, skip: number): void {
    const at = index * WORDS;
    this.#words[at + PACKED] = packed;
    this.#words[at + WHOLE] = whole;
    this.#words[at + SKIP] = skip;
  }

  /** Length of the zstd frame that holds the payload, or 0 if it lies in none. */
  packed(index: number): number {
    return this.#words[index * WORDS + PACKED]!;
  }

  whole(index: number): number {
    return this.#words[index * WORDS + WHOLE]!;
  }

  skip(index: number): number {
    return this.#words[index * WORDS + SKIP]!;
  }

  /** Byte of the image at which what holds the payload ends. */
  end(index: number): number {
    return this.offset(index) + (this.packed(index) || this.bytes(index));
  }

  setBroken(index: number): void {
    this.#words[index * WORDS + STATE] = 1;
  }

  /** Whether the zstd frame does not hold what it should. */
  isBroken(index: number): boolean {
    return this.#words[index * WORDS + STATE] === 1;
  }

  offset(index: number): number {
    return readU64(this.#words, index * WORDS + OFFSET);
  }

  bytes(index: number): number {
    return this.#words[index * WORDS + BYTES]!;
  }

  kind(index: number): DigestKind {
    return this.#words[index * WORDS + KIND] as DigestKind;
  }

  setFound(index: number, low: number, high: number): void {
    this.#words[index * WORDS + FOUND] = low | 0;
    this.#words[index * WORDS + FOUND + 1] = high | 0;
  }

  /** Whether the computed digest equals the stored one. False if none has been computed. */
  isSame(index: number): boolean {
    const words = this.#words;
    const stored = index * WORDS + STORED;
    const found = index * WORDS + FOUND;
    return words[stored] === words[found] && words[stored + 1] === words[found + 1];
  }

  stored(index: number): Digest {
    return this.#digest(index, STORED);
  }

  found(index: number): Digest {
    return this.#digest(index, FOUND);
  }

  #digest(index: number, at: number): Digest {
    const words = this.#words;
    const low = words[index * WORDS + at]! >>> 0;
    return { digest: this.kind(index), low, high: words[index * WORDS + at + 1]! >>> 0 };
  }
}
