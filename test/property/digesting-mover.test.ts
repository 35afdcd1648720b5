/**
 * Invariants checked:
 * - whatever the frames are and wherever they go, the window holds their bytes, one page after the
 *   other, and nothing beside them has changed;
 * - the digest equals the reference's over those bytes: for runs of any length, across banks, into
 *   the frames' own memory, another memory and ordinary memory;
 * - a digest does not depend on what was digested before it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestingMover } from '../../src/workers/copy/digesting-mover.ts';
import {
  expectedWindow,
  frames,
  MARGIN,
  parts,
  reservations,
  WINDOWS,
} from '../support/machine/frame-fixture.ts';
import { DIGESTS, KERNELS } from '../support/machine/kernels.ts';
import { hexOfHalves, xxh3Slowly } from '../support/reference/xxh3-reference.ts';

describe('frames are moved and digested', () => {
  for (const [how, kernels] of KERNELS) {
    if (kernels === undefined) continue;
    const between = kernels.between === undefined ? undefined : DIGESTS.between;
    for (const [where, windowOf] of WINDOWS) {
      it(`by ${how} to ${where}`, () => {
        const mover = new DigestingMover(
          parts,
          kernels,
          { inside: DIGESTS.inside, between },
          reservations,
        );
        fc.assert(
          fc.property(frames, fc.nat(5), (list, before) => {
            const sources = new Int32Array(list.length + before);
            sources.set(list, before);
            const window = windowOf();
            window.bytes.fill(0xee);
            mover.move(sources, before, list.length, window, MARGIN);
            const expected = expectedWindow(list);
            expect(Buffer.compare(window.bytes, expected)).toBe(0);
            const pages = expected.subarray(MARGIN, MARGIN + list.length * 4096);
            expect(hexOfHalves(mover.low, mover.high)).toBe(xxh3Slowly(pages));
          }),
          { numRuns: 40 },
        );
      });
    }
  }
});
