/** Loads and stores of few bytes of one page, which a translator makes (`translator.ts`). */
import { PAGE_SIZE } from '../../shared/page.ts';

/** Accesses of more bytes are no small ones: copying them takes longer than finding the page. */
const SMALL = 64;
const OFFSET = PAGE_SIZE - 1;

/** Whether `length` bytes are few and lie in one page, so that a translator can be asked. */
export function isSmall(address: number, length: number): boolean {
  if (typeof address !== 'number') return false; // an error that the operation throws
  return length > 0 && length <= SMALL && (address & OFFSET) + length <= PAGE_SIZE;
}

/** Copies whole words as such where they are aligned, so that no other thread sees half a word. */
export function copyOut(words: Int32Array, bytes: Uint8Array, at: number, into: Uint8Array): void {
  const { length } = into;
  if (((at | length) & 3) !== 0) {
    for (let byte = 0; byte < length; byte++) into[byte] = bytes[at + byte]!;
    return;
  }
  for (let byte = 0, word = at >>> 2; byte < length; byte += 4, word++) {
    const value = words[word]!;
    into[byte] = value;
    into[byte + 1] = value >> 8;
    into[byte + 2] = value >> 16;
    into[byte + 3] = value >> 24;
  }
}

/** The same the other way. */
export function copyIn(words: Int32Array, bytes: Uint8Array, at: number, from: Uint8Array): void {
  const { length } = from;
  if (((at | length) & 3) !== 0) {
    for (let byte = 0; byte < length; byte++) bytes[at + byte] = from[byte]!;
    return;
  }
  for (let byte = 0, word = at >>> 2; byte < length; byte += 4, word++) {
    const low = from[byte]! | (from[byte + 1]! << 8);
    words[word] = low | (from[byte + 2]! << 16) | (from[byte + 3]! << 24);
  }
}
