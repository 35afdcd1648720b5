/**
 * Checks XXH3-64 against independent sources: the published vectors, a reference written from the
 * specification, and the programs xxhsum and python3-xxhash where they are installed.
 */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { DigestState, digestKernels } from '../../../src/shared/digest/xxh3.ts';
import { Memory } from '../../../src/shared/wasm.ts';
import { DIGESTS } from '../../support/machine/kernels.ts';
import { hexOfHalves, xxh3Slowly } from '../../support/reference/xxh3-reference.ts';

/** The digests of xxHash's own sanity check, by length of the input. */
const PUBLISHED: readonly (readonly [length: number, digest: string])[] = [
  [0, '2d06800538d394c2'],
  [1, 'c44bdff4074eecdb'],
  [6, '27b56a84cd2d7325'],
  [12, 'a713daf0dfbb77e7'],
  [24, 'a3fe70bf9d3510eb'],
  [48, '397da259ecba1f11'],
  [80, 'bcdefbbb2c47c90a'],
  [195, 'cd94217ee362ec3a'],
  [403, 'cdeb804d65c6dea4'],
  [512, '617e49599013cb6b'],
  [2048, 'dd59e2c3a5f038e0'],
  [2240, '6e73a90539cf2948'],
  [2367, 'cb37aeb9e5d361ed'],
];

/** The input of the published digests: the highest eight bits of each 64-bit generator value. */
function sanityBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 2654435761n;
  for (let at = 0; at < length; at++) {
    bytes[at] = Number(state >> 56n);
    state = BigInt.asUintN(64, state * 11400714785074694797n);
  }
  return bytes;
}

const memory = new Memory({ initial: 4, maximum: 4, shared: true });
const kernels = digestKernels(DIGESTS.inside, memory, memory, new DigestState());

/** Digests by the kernel, from an address that is not aligned for any vector. */
function xxh3(bytes: Uint8Array): string {
  const at = 4099;
  const view = new Uint8Array(memory.buffer);
  view.fill(0xee);
  view.set(bytes, at);
  return hexOfHalves(kernels.digest(at, bytes.length), kernels.high());
}

/** Lengths of every class, the boundaries of classes, and pages. */
const LENGTHS = [
  ...Array.from({ length: 300 }, (_, length) => length),
  ...[511, 512, 513, 1023, 1024, 1025, 1088, 1089, 2047, 2048, 2049, 3000, 4095, 4096, 4097],
  ...[8192, 12_288, 16_384, 40_960, 65_536, 100_001],
];

describe('XXH3-64', () => {
  it.each(PUBLISHED)('of %i bytes is what xxHash publishes', (length, digest) => {
    expect(xxh3Slowly(sanityBytes(length))).toBe(digest);
    expect(xxh3(sanityBytes(length))).toBe(digest);
  });

  it('is the same by the kernel and by the reference for every class of lengths', () => {
    const bytes = sanityBytes(Math.max(...LENGTHS));
    for (const length of LENGTHS) {
      const input = bytes.subarray(bytes.length - length);
      expect(xxh3(input), `${length} bytes`).toBe(xxh3Slowly(input));
    }
  });

  it('is what xxhsum -H3 prints', ({ skip }) => {
    const ofNothing = spawnSync('xxhsum', ['-H3'], { input: '', encoding: 'utf8' });
    if (ofNothing.error !== undefined) skip('xxhsum is not installed');
    if (ofNothing.status !== 0) skip('this xxhsum has no -H3');
    for (const length of LENGTHS.filter((_, index) => index % 9 === 0)) {
      const input = sanityBytes(length);
      const { stdout } = spawnSync('xxhsum', ['-H3'], { input, encoding: 'utf8' });
      const printed = /\b([0-9a-f]{16})\b/.exec(stdout)?.[1];
      expect(xxh3(input), `${length} bytes: ${stdout}`).toBe(printed);
    }
  });

  it("is what Python's xxhash computes", ({ skip }) => {
    // Only the distribution's own Python sees the distribution's package.
    const python = '/usr/bin/python3';
    if (spawnSync(python, ['-c', 'import xxhash']).status !== 0) {
      skip('python3-xxhash is not installed');
    }
    const program = `
import sys, xxhash
data = sys.stdin.buffer.read()
for length in map(int, sys.argv[1:]):
    print(xxhash.xxh3_64_hexdigest(data[:length]))`;
    const input = sanityBytes(Math.max(...LENGTHS));
    const { stdout, stderr } = spawnSync(python, ['-c', program, ...LENGTHS.map(String)], {
      input,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    const printed = stdout.trim().split('\n');
    expect(LENGTHS.map((length) => xxh3(input.subarray(0, length)))).toEqual(printed);
  });
});
