/**
 * Unsigned 64-bit fields as two 32-bit words, low word first, without BigInt.
 *
 * `join` is exact below 2^53. Fields that may use all 64 bits (the pgprot of a VMA with its NX bit,
 * CPT_NULL) stay two words, or become a BigInt where they leave the program.
 */
const TWO_32 = 0x1_0000_0000;

/** The low 32 bits, as a signed word. */
export function lowWord(value: number): number {
  return value | 0;
}

/** The high 32 bits, as a signed word. */
export function highWord(value: number): number {
  return Math.floor(value / TWO_32) | 0;
}

/** The number that two words make. The words may be signed. */
export function join(low: number, high: number): number {
  return (high >>> 0) * TWO_32 + (low >>> 0);
}

/** Reads the field in words `at` and `at + 1`. */
export function readU64(words: Int32Array, at: number): number {
  return (words[at + 1]! >>> 0) * TWO_32 + (words[at]! >>> 0);
}

/** Writes the field in words `at` and `at + 1`. */
export function writeU64(words: Int32Array, at: number, value: number): void {
  words[at] = value | 0;
  words[at + 1] = Math.floor(value / TWO_32) | 0;
}
