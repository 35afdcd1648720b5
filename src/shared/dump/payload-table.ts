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
  WORDS: 8,
} as const;

const { OFFSET, BYTES, KIND, STORED, FOUND, WORDS } = PAYLOAD;

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
