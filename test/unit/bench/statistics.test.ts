/** Checks the arithmetic of the benchmark against sums done by hand. */
import { describe, expect, test } from 'vitest';
import { fitLine, median, quotients, spreadOf } from '../../../bench/statistics.ts';

describe('median', () => {
  test('is the middle one, whatever the order', () => {
    expect(median([9, 1, 5])).toBe(5);
  });

  test('is the mean of the two in the middle of an even number', () => {
    expect(median([10, 1, 3, 100])).toBe(6.5);
  });

  test('leaves the samples as they were', () => {
    const samples = [3, 1, 2];
    median(samples);
    expect(samples).toEqual([3, 1, 2]);
  });

  test('comes with the smallest and the largest', () => {
    expect(spreadOf([4, 2, 8])).toEqual({ median: 4, min: 2, max: 8, samples: 3 });
  });
});

describe('quotients', () => {
  test('are of neighbours', () => {
    expect(quotients([10, 20], [5, 80])).toEqual([2, 0.25]);
  });

  test('want as many of both', () => {
    expect(() => quotients([1, 2], [1])).toThrow(RangeError);
  });
});

describe('fitLine', () => {
  test('finds the line that points lie on, over three orders of magnitude', () => {
    const { constant, slope, residual } = fitLine(
      [100, 1000, 10_000, 100_000].map((x) => [x, 3 + 0.002 * x] as const),
    );
    expect(constant).toBeCloseTo(3, 9);
    expect(slope).toBeCloseTo(0.002, 12);
    expect(residual).toBeLessThan(1e-9);
  });

  test('weighs deviations by their size: a tenth more is a tenth more, small or large', () => {
    // There are two points at each x, a fifth below and a fifth above the expected value. The best
    // line has the least sum of (relative deviation)², and the weight 1 / y favours the lower
    // point.
    const lower = 0.8;
    const upper = 1.2;
    const best = (1 / lower + 1 / upper) / (1 / lower ** 2 + 1 / upper ** 2);
    const points = [1, 1000].flatMap((x) => [
      [x, lower * (5 + x)] as const,
      [x, upper * (5 + x)] as const,
    ]);
    const { constant, slope, residual } = fitLine(points);
    expect(constant).toBeCloseTo(5 * best, 9);
    expect(slope).toBeCloseTo(best, 9);
    const squares = (1 - best / lower) ** 2 + (1 - best / upper) ** 2;
    expect(residual).toBeCloseTo(Math.sqrt(squares / 2), 9);
  });

  test('refuses what no line goes through', () => {
    expect(() => fitLine([[1, 2]])).toThrow(RangeError);
    expect(() =>
      fitLine([
        [1, 2],
        [1, 3],
      ]),
    ).toThrow(RangeError);
    expect(() =>
      fitLine([
        [1, 2],
        [2, 0],
      ]),
    ).toThrow(RangeError);
  });
});
