/**
 * The digests of pages where they are written, and where they lie in frames.
 *
 * Invariants checked: the digest of a block is that of the bytes in the image, also when another
 * thread writes a frame between two looks at it · a run that is loaded in parts, into several banks,
 * has the digest of its bytes.
 */
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { BANK_FRAMES } from '../../../src/mmu/physical/physical-memory.ts';
import { DIGEST } from '../../../src/shared/digest/digest-kind.ts';
import type { RunningMachine } from '../../../src/shared/dump/tasks/pass-task.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { PageMover } from '../../../src/workers/copy/page-mover.ts';
import { FramesDigest } from '../../../src/workers/load/frames-digest.ts';
import { parts, reservations, WINDOWS } from '../../support/machine/frame-fixture.ts';
import { DIGESTS, KERNELS } from '../../support/machine/kernels.ts';
import { xxh3Outside } from '../../support/reference/outside-xxh3.ts';

interface Halves {
  readonly low: number;
  readonly high: number;
}

function hexOf({ low, high }: Halves): string {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(low >>> 0, 0);
  bytes.writeUInt32LE(high >>> 0, 4);
  return bytes.toString('hex');
}

const FIRST = 100;
const PAGES = 20;

describe('a block of a machine that runs', () => {
  const [, windowOf] = WINDOWS[0]!; // no kernel reaches it
  for (const [how, kernels] of KERNELS) {
    if (kernels === undefined) continue;
    it.each([
      ['xxh3', DIGEST.XXH3],
      ['crc32', DIGEST.CRC32],
    ] as const)(`has the %s of the bytes that have arrived, by ${how}`, (_name, digest) => {
      const sources = Int32Array.from({ length: PAGES }, (_, page) => FIRST + page);
      const running = {} as RunningMachine;
      const task = { kernels, digestKernels: DIGESTS, digest, reservations, running };
      const mover = new PageMover(parts, sources, task);
      const window = windowOf();
      const { bytes } = window;
      const set = bytes.set.bind(bytes);
      let writes = 0;
      // Another thread writes to the frame right before its bytes are copied.
      bytes.set = (from, at) => {
        parts.memory.page(FIRST)[5]! ^= 0xff;
        writes++;
        set(from, at);
      };
      mover.move(0, PAGES, window, 0);
      const arrived = bytes.subarray(0, PAGES * PAGE_SIZE);
      expect(writes).toBeGreaterThan(0);
      if (digest === DIGEST.CRC32) expect(mover.low >>> 0).toBe(crc32(arrived));
      else expect(hexOf(mover)).toBe(xxh3Outside(arrived).toString('hex'));
    });
  }
});

describe('a run that is loaded in parts', () => {
  it.each([
    ['in one part', [[FIRST, 1]]],
    [
      'of one bank',
      [
        [FIRST, 4],
        [FIRST + 10, 32],
        [FIRST + 4, 3],
      ],
    ],
    [
      'over two banks',
      [
        [FIRST, 7],
        [BANK_FRAMES + 3, 12],
        [FIRST + 20, 1],
      ],
    ],
    [
      'that ends in the second bank',
      [
        [FIRST, 1],
        [BANK_FRAMES, 1],
      ],
    ],
  ] as const)('%s has the digest of its bytes', (_name, runs) => {
    const digest = new FramesDigest(parts, DIGESTS.inside);
    for (const kind of [DIGEST.XXH3, DIGEST.CRC32, DIGEST.XXH3]) {
      digest.begin(kind);
      const all: Uint8Array[] = [];
      runs.forEach(([pfn, pages], index) => {
        const at = parts.memory.byteAt(pfn);
        const bytes = pages * PAGE_SIZE;
        all.push(parts.memory.bytesOf(pfn).slice(at, at + bytes));
        digest.take(pfn, at, bytes, index === runs.length - 1);
      });
      const expected = Buffer.concat(all);
      if (kind === DIGEST.CRC32) expect(digest.low >>> 0).toBe(crc32(expected));
      else expect(hexOf(digest)).toBe(xxh3Outside(expected).toString('hex'));
    }
  });
});
