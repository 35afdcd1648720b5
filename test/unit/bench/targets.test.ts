/** Which lines reach their targets, and which cases a name selects. */
import { describe, expect, test } from 'vitest';
import { growthOf } from '../../../bench/growth.ts';
import { skippedLine, toLine } from '../../../bench/line.ts';
import { isMet, TARGETS } from '../../../bench/targets.ts';

describe('targets', () => {
  test('a ratio has to be as large, to the two digits that are shown', () => {
    expect(isMet(TARGETS.memoryRuns, 100, 0.93)).toBe(true);
    expect(isMet(TARGETS.memoryRuns, 100, 0.9251)).toBe(true);
    expect(isMet(TARGETS.memoryRuns, 100, 0.9249)).toBe(false);
  });

  test('a value has to be as small, or as large', () => {
    expect(isMet(TARGETS.classifyDense, 6, null)).toBe(true);
    expect(isMet(TARGETS.classifyDense, 6.01, null)).toBe(false);
    expect(isMet(TARGETS.twoWorkers, 1.9, null)).toBe(true);
    expect(isMet(TARGETS.twoWorkers, 1.89, null)).toBe(false);
  });

  test('what was not measured is neither met nor missed', () => {
    expect(isMet(TARGETS.memoryRuns, 100, null)).toBeNull();
    expect(skippedLine('peers', 'gcore', 'gdb is not installed', TARGETS.fileGcore).met).toBeNull();
  });

  test.each(Object.entries(TARGETS))('%s says its bound', (_, { text, limit, bound }) => {
    expect(text.startsWith(bound === 'at least' ? '≥' : '≤')).toBe(true);
    expect(Number(/[\d.]+/.exec(text)![0])).toBe(limit);
  });
});

describe('a line', () => {
  test('compares round by round, not median by median', () => {
    const line = toLine('case', {
      name: 'drifting',
      unit: 'ms',
      samples: [10, 100, 1000],
      limit: { name: 'limit', samples: [9, 90, 900] },
      target: TARGETS.memoryRandom,
      bytes: 1e9,
    });
    expect(line.ratio).toEqual({ median: 0.9, min: 0.9, max: 0.9, samples: 3 });
    expect(line.value).toEqual({ median: 100, min: 10, max: 1000, samples: 3 });
    expect(line.bytesPerSecond).toBe(1e10);
    expect(line.met).toBe(true);
  });
});

describe('growth', () => {
  test('fits the points, and takes no time for a thousandth of a millisecond', () => {
    const points = [
      [1, 0],
      [10, 0],
    ] as const;
    const { fit } = growthOf({ of: 'growth', cost: 'plan', against: 'pages', at: '', points });
    expect(fit.constant).toBeCloseTo(0.001, 9);
    expect(fit.slope).toBeCloseTo(0, 9);
  });
});
