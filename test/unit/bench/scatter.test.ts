/** Patterns of frames and zero pages on which the benchmarks run. */
import { describe, expect, test } from 'vitest';
import { scatteredFrames, storedFrames, zeroPages } from '../../../bench/scatter.ts';

const PAGE = 4096;
const FRAMES = 4096;

function isPermutation(list: Int32Array): boolean {
  return [...list].sort((a, b) => a - b).every((frame, index) => frame === index);
}

/** Lengths of the stretches in which each frame follows its predecessor. */
function runLengths(list: Int32Array): Set<number> {
  const lengths = new Set<number>();
  let length = 1;
  for (let index = 1; index <= list.length; index++) {
    if (index < list.length && list[index] === list[index - 1]! + 1) {
      length++;
      continue;
    }
    lengths.add(length);
    length = 1;
  }
  return lengths;
}

describe('scatteredFrames', () => {
  test.each([1, 16, 512, 0])('names every frame once (runs of %i)', (run) => {
    expect(isPermutation(scatteredFrames(FRAMES, run))).toBe(true);
  });

  test('keeps runs together: a stretch is a run, or several that met by chance', () => {
    for (const length of runLengths(scatteredFrames(FRAMES, 16))) expect(length % 16).toBe(0);
    expect(runLengths(scatteredFrames(FRAMES, 0))).toEqual(new Set([FRAMES]));
  });

  test('scatters: hardly any neighbours of single frames are neighbours', () => {
    const list = scatteredFrames(FRAMES, 1);
    const inOrder = list.filter((frame, index) => frame === list[index - 1]! + 1).length;
    expect(inOrder).toBeLessThan(FRAMES / 100);
  });

  test('is the same every time', () => {
    expect(scatteredFrames(FRAMES, 16)).toEqual(scatteredFrames(FRAMES, 16));
  });

  test('refuses a length that is no whole number of runs', () => {
    expect(() => scatteredFrames(100, 16)).toThrow(RangeError);
  });
});

describe('zero pages', () => {
  test.each([
    [16, 0],
    [16, 20],
    [1, 80],
    [0, 20],
  ])('runs of %i, %i %%', (run, zeroPercent) => {
    const pattern = { bytes: 16_384 * PAGE, run, zeroPercent };
    const isZero = zeroPages(pattern);
    const zeros = isZero.filter((flag) => flag === 1).length;
    const block = run === 0 ? 512 : run;
    expect(Math.abs(zeros - (16_384 * zeroPercent) / 100)).toBeLessThanOrEqual(block / 2);
    const stored = storedFrames(pattern);
    expect(stored.length).toBe(16_384 - zeros);
    expect(new Set(stored).size).toBe(stored.length);
  });

  test('what is stored lies in the order of the pages that are not zero', () => {
    const pattern = { bytes: 64 * PAGE, run: 4, zeroPercent: 25 };
    const isZero = zeroPages(pattern);
    const frames = scatteredFrames(64, 4);
    const expected = [...frames].filter((_, page) => isZero[page] === 0);
    expect([...storedFrames(pattern)]).toEqual(expected);
  });
});
