/**
 * The payloads of a unit that is compressed before it has a place.
 *
 * Invariants checked: blocks come back in their order with payload and digest, also from a copy in
 * shared memory, and after the unit was used for others before.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PackedUnit } from '../../../src/shared/dump/packed-unit.ts';

const word = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
const block = fc.record({
  payload: fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.integer({ min: 0, max: 255 }).map((byte) => new Uint8Array(0x9_0000).fill(byte)),
  ),
  low: word,
  high: word,
});

describe('a packed unit', () => {
  it('gives back what it was given', () => {
    const unit = new PackedUnit();
    fc.assert(
      fc.property(fc.array(block, { maxLength: 100 }), fc.boolean(), (blocks, isKept) => {
        unit.clear();
        for (const { payload, low, high } of blocks) unit.add(payload, low, high);
        const from = isKept ? PackedUnit.of(unit.kept(3)) : unit;
        for (const { payload, low, high } of blocks) {
          from.next();
          expect([from.low, from.high]).toEqual([low, high]);
          expect(Buffer.compare(from.payload, payload)).toBe(0);
        }
      }),
      { numRuns: 30 },
    );
  });
});
