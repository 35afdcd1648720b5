/**
 * How workers claim the units of an image in parts.
 *
 * Invariants checked, for any number of workers and parts, units of any length, and any order of
 * the workers:
 * - as many takes as there are units return every unit once
 * - a worker gets the units of one part in order
 * - as long as enough parts have units left for all workers, no two workers share a part
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { firstOfParts, PartClaims, partClaimsBytes } from '../../../src/shared/dump/part-claims.ts';

interface Taken {
  readonly worker: number;
  readonly unit: number;
  readonly part: number;
}

/** Returns all takes, in the order of `turns` (the worker of each turn, repeated). */
function takeAll(
  lengths: readonly number[],
  partBytes: number,
  workers: number,
  turns: readonly number[],
): Taken[] {
  const offsets: number[] = [];
  let bytes = 0;
  for (const length of lengths) {
    offsets.push(bytes);
    bytes += length;
  }
  const parts = Math.ceil(bytes / partBytes);
  const buffer = new SharedArrayBuffer(partClaimsBytes(parts));
  const units = { count: lengths.length, offset: (unit: number) => offsets[unit]! };
  const first = firstOfParts(units, partBytes, parts);
  const claims = Array.from({ length: workers }, (_, worker) => {
    return new PartClaims(buffer, first, { worker, workers });
  });
  return lengths.map((_, index) => {
    const worker = turns[index % turns.length]! % workers;
    const unit = claims[worker]!.take();
    return { worker, unit, part: Math.floor(offsets[unit]! / partBytes) };
  });
}

it('every unit is taken once, whoever comes when', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 60 });
  const partBytes = fc.integer({ min: 1, max: 600 });
  const turns = fc.array(fc.nat({ max: 20 }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(
      lengths,
      partBytes,
      fc.integer({ min: 1, max: 9 }),
      turns,
      (all, part, count, by) => {
        const taken = takeAll(all, part, count, by);
        const sorted = taken.map(({ unit }) => unit).sort((a, b) => a - b);
        expect(sorted).toEqual(all.map((_, unit) => unit));
        const last = new Map<string, number>();
        for (const { worker, unit, part: where } of taken) {
          const key = `${worker} in ${where}`;
          expect(unit, key).toBeGreaterThan(last.get(key) ?? -1);
          last.set(key, unit);
        }
      },
    ),
  );
});

it('as many workers as parts have a part each', () => {
  const lengths = new Array(40).fill(10);
  const taken = takeAll(lengths, 100, 4, [0, 1, 2, 3]);
  for (const { worker, part } of taken) expect(part).toBe(worker);
});

it('two workers share four parts, and four workers share two', () => {
  const lengths = new Array(40).fill(10);
  const owner = takeAll(lengths, 100, 2, [0, 1]).map(({ part, worker }) => `${part}: ${worker}`);
  expect(new Set(owner)).toEqual(new Set(['0: 0', '1: 1', '2: 0', '3: 1']));
  const guests = takeAll(lengths, 200, 4, [0, 1, 2, 3]).map((one) => `${one.part}: ${one.worker}`);
  expect(new Set(guests)).toEqual(new Set(['0: 0', '1: 1', '0: 2', '1: 3']));
});

it('a worker whose part is done helps with another', () => {
  const taken = takeAll(new Array(20).fill(10), 100, 2, [0]);
  expect(taken.map(({ unit }) => unit)).toEqual([...new Array(20).keys()]);
});
