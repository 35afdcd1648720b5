/**
 * Invariants checked:
 * - the digest of bytes anywhere in a memory equals that of the reference, for any number of bytes;
 * - the same holds however the bytes are cut into parts, when some parts are copied on the way, and
 *   when the parts lie in two memories in turn;
 * - the same holds for ordinary bytes in pieces of any length.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BytesDigest } from '../../src/shared/digest/bytes-digest.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../src/shared/digest/xxh3.ts';
import { Memory, type WasmMemory } from '../../src/shared/wasm.ts';
import { DIGESTS } from '../support/machine/kernels.ts';
import { hexOfHalves, xxh3Slowly } from '../support/reference/xxh3-reference.ts';

const PAGE = 4096;
const BLOCK = 1024;

function smallMemory(): WasmMemory {
  return new Memory({ initial: 8, maximum: 8, shared: true });
}
const [one, two] = [smallMemory(), smallMemory()];
const state = new DigestState();
const inOne = digestKernels(DIGESTS.inside, one, one, state);
const inTwo = digestKernels(DIGESTS.inside, two, two, state);

/** Random bytes from a seed, cheaper than choosing each byte. */
function bytesOf(length: number, seed: number): Uint8Array {
  let word = seed | 1;
  return Uint8Array.from({ length }, () => {
    word = Math.imul(word ^ (word >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    return word >>> 24;
  });
}

function place(memory: WasmMemory, at: number, bytes: Uint8Array): void {
  new Uint8Array(memory.buffer).set(bytes, at);
}

function hexOf(kernels: DigestKernels, low: number): string {
  return hexOfHalves(low, kernels.high());
}

const seed = fc.integer();
const length = fc.oneof(fc.nat(300), fc.nat(5000), fc.integer({ min: 5000, max: 70_000 }));

describe('XXH3-64 by the kernel', () => {
  it('is that of the reference for any bytes anywhere', () => {
    fc.assert(
      fc.property(length, fc.nat(5000), seed, (count, at, from) => {
        const bytes = bytesOf(count, from);
        place(one, at, bytes);
        expect(hexOf(inOne, inOne.digest(at, count))).toBe(xxh3Slowly(bytes));
      }),
    );
  });

  it('does not depend on the parts, nor on the memory of each', () => {
    const parts = fc.array(
      fc.record({ blocks: fc.integer({ min: 1, max: 9 }), how: fc.constantFrom(0, 1, 2, 3) }),
      { maxLength: 8 },
    );
    const rest = fc.oneof(fc.integer({ min: 64, max: 1100 }), fc.integer({ min: 64, max: 9000 }));
    fc.assert(
      fc.property(parts, rest, fc.nat(100), seed, (cuts, last, at, from) => {
        const total = cuts.reduce((sum, { blocks }) => sum + blocks * BLOCK, 0) + last;
        fc.pre(total > 240);
        const bytes = bytesOf(total, from);
        let done = 0;
        inTwo.begin();
        for (const { blocks, how } of cuts) {
          const count = blocks * BLOCK;
          const part = bytes.subarray(done, done + count);
          const [memory, kernels] = how % 2 === 0 ? [one, inOne] : [two, inTwo];
          place(memory, at, part);
          if (how < 2) kernels.update(at, count);
          else {
            const to = 200_000 + at;
            kernels.copyAndUpdate(to, at, count);
            const copied = new Uint8Array(memory.buffer, to, count);
            expect(Buffer.compare(copied, part)).toBe(0);
          }
          done += count;
        }
        place(one, at, bytes.subarray(done));
        expect(hexOf(inOne, inOne.finish(at, last))).toBe(xxh3Slowly(bytes));
      }),
    );
  });

  it('takes a last part of a few bytes, if what was before lies before it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.nat(63),
        fc.nat(99),
        seed,
        (n, more, at, s) => {
          const bytes = bytesOf(n * BLOCK + more + 1, s);
          place(one, at, bytes);
          inOne.begin();
          inOne.update(at, n * BLOCK);
          const low = inOne.finish(at + n * BLOCK, more + 1);
          expect(hexOf(inOne, low)).toBe(xxh3Slowly(bytes));
        },
      ),
    );
  });

  it('of pages that are copied by fours is that of the pages', () => {
    const page = fc.nat(31);
    const fours = fc.array(fc.tuple(page, page, page, page), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fours, seed, (groups, from) => {
        const pages = bytesOf(32 * PAGE, from);
        place(one, 0, pages);
        const start = 40 * PAGE;
        const first = groups[0]!.map((index) => pages.subarray(index * PAGE, (index + 1) * PAGE));
        place(one, start, Buffer.concat(first));
        inOne.begin();
        let to = start + 4 * PAGE;
        for (const group of groups.slice(1)) {
          const [a, b, c, d] = group.map((index) => index * PAGE);
          inOne.copyFourAndUpdate(to, a!, b!, c!, d!);
          to += 4 * PAGE;
        }
        const low = inOne.finish(to - 4 * PAGE, 4 * PAGE);
        const all = groups.flat().map((index) => pages.subarray(index * PAGE, (index + 1) * PAGE));
        const expected = Buffer.concat(all);
        const copied = new Uint8Array(one.buffer, start, expected.length);
        expect(Buffer.compare(copied, expected)).toBe(0);
        expect(hexOf(inOne, low)).toBe(xxh3Slowly(expected));
      }),
      { numRuns: 40 },
    );
  });
});

describe('XXH3-64 of ordinary bytes', () => {
  it('is that of the reference, in pieces of any length', () => {
    const digest = new BytesDigest(DIGESTS.inside);
    const pieces = fc.array(
      fc.oneof(fc.nat(100), fc.nat(70_000), fc.constantFrom(65_536, 65_535, 65_537)),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(pieces, seed, (lengths, from) => {
        const bytes = lengths.map((count, index) => bytesOf(count, from + index));
        digest.begin();
        for (const piece of bytes) digest.update(piece);
        digest.finish();
        const expected = xxh3Slowly(Buffer.concat(bytes));
        expect(hexOfHalves(digest.low, digest.high)).toBe(expected);
      }),
      { numRuns: 40 },
    );
  });

  it('is the same where they are read into its room', () => {
    const digest = new BytesDigest(DIGESTS.inside);
    const bytes = bytesOf(200_000, 5);
    digest.begin();
    for (let done = 0; done < bytes.length; ) {
      const room = digest.room();
      const count = Math.min(room.length, bytes.length - done, 30_000);
      room.set(bytes.subarray(done, done + count));
      digest.took(count);
      done += count;
    }
    digest.finish();
    expect(hexOfHalves(digest.low, digest.high)).toBe(xxh3Slowly(bytes));
  });
});
