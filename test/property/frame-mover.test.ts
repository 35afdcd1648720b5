/**
 * Invariants checked:
 * - whatever the frames are and wherever they go, the window holds their bytes, one page after the
 *   other, and nothing beside them has changed;
 * - the same holds with and without kernels, into the frames' own memory, another memory and
 *   ordinary memory.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameMover } from '../../src/workers/copy/frame-mover.ts';
import {
  expectedWindow,
  frames,
  MARGIN,
  parts,
  reservations,
  WINDOWS,
} from '../support/machine/frame-fixture.ts';
import { KERNELS } from '../support/machine/kernels.ts';

describe('frames are moved', () => {
  for (const [how, kernels] of KERNELS) {
    for (const [where, windowOf] of WINDOWS) {
      it(`by ${how} to ${where}`, () => {
        fc.assert(
          fc.property(frames, fc.nat(5), (list, before) => {
            const sources = new Int32Array(list.length + before);
            sources.set(list, before);
            const window = windowOf();
            window.bytes.fill(0xee);
            const mover = new FrameMover(parts, sources, kernels, kernels && reservations);
            mover.move(before, list.length, window, MARGIN);
            expect(Buffer.compare(window.bytes, expectedWindow(list))).toBe(0);
          }),
          { numRuns: 40 },
        );
      });
    }
  }
});
