/**
 * Unsigned 64-bit fields as two 32-bit words, low word first, without BigInt.
 *
 * `join` gives an exact number below 2^53. Fields that may use all 64 bits (flags of a VMA's
 * pgprot with its NX bit, CPT_NULL) stay two words, or become BigInt at the edge.
 */
const TWO_32 = 0x1_0000_0000;

export function lowWord(value: number): number {
  return value | 0;
}

export function highWord(value: number): number {
  return Math.floor(value / TWO_32) | 0;
}

export function join(low: number, high: number): number {
  return (high >>> 0) * TWO_32 + (low >>> 0);
}

/** Reads the field at words `at` and `at + 1`. */
export function readU64(words: Int32Array, at: number): number {
  return (words[at + 1]! >>> 0) * TWO_32 + (words[at]! >>> 0);
}

export function writeU64(words: Int32Array, at: number, value: number): void {
  words[at] = value | 0;
  words[at + 1] = Math.floor(value / TWO_32) | 0;
}
