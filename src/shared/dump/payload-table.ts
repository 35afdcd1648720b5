/**
 * Payloads of an image whose digests are to be verified: written by the main thread, claimed in
 * units by the workers, each of which fills in what it found.
 */
import { assert } from '../assert.ts';
import type { Digest, DigestKind } from '../digest/digest-kind.ts';
import { readU64, writeU64 } from '../u64.ts';

export const PAYLOAD = {
  OFFSET: 0, // byte of the image, u64
  BYTES: 2, //  below 2^31
  KIND: 3, //   DigestKind
  STORED: 4, // halves of the digest as stored, low and high
  FOUND: 6, //  the same of the bytes; written by the worker
  WORDS: 8,
} as const;

const { OFFSET, BYTES, KIND, STORED, FOUND, WORDS } = PAYLOAD;

export function payloadTableBytes(count: number): number {
  return count * WORDS * 4;
}

export class PayloadTable {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

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

  /** Whether the bytes have the digest that is stored; false while nobody has looked. */
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
