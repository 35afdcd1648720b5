import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32Words } from '../../../src/shared/digest/crc32.ts';
import { highWord, join, lowWord, readU64, writeU64 } from '../../../src/shared/u64.ts';

describe('crc32 of words', () => {
  it("equals zlib's for whole words anywhere in memory", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }).map((bytes) => bytes.slice(0, bytes.length & ~3)),
        fc.nat(8),
        (bytes, at) => {
          const words = new Int32Array(at + bytes.length / 4 + 1);
          new Uint8Array(words.buffer).set(bytes, at * 4);
          expect(crc32Words(words, at, bytes.length / 4)).toBe(crc32(bytes));
        },
      ),
    );
  });
});

describe('u64 in two words', () => {
  it('keeps every number below 2^53', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(join(lowWord(value), highWord(value))).toBe(value);
        const words = new Int32Array(4);
        writeU64(words, 1, value);
        expect(readU64(words, 1)).toBe(value);
        expect(new DataView(words.buffer).getBigUint64(4, true)).toBe(BigInt(value));
      }),
    );
  });
});
