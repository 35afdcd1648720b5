import { describe, expect, it } from 'vitest';
import {
  bytesOfPart,
  imageOfFirstPart,
  isPartOf,
  PARTS_MAX,
  partCount,
  partLength,
  partPath,
} from '../../../src/shared/formats/parts.ts';

describe('names of parts', () => {
  it('have three digits, so that they sort as they follow each other', () => {
    const names = Array.from({ length: PARTS_MAX }, (_, part) => partPath('a/b.cpt', part));
    expect([names[0], names[7], names[999]]).toEqual(['a/b.cpt.000', 'a/b.cpt.007', 'a/b.cpt.999']);
    expect([...names].sort()).toEqual(names);
    expect(names.every((name) => isPartOf('a/b.cpt', name))).toBe(true);
  });

  it.each([
    'b.cpt',
    'b.cpt.00',
    'b.cpt.0000',
    'b.cpt.00x',
    'b.cpt-000',
    'cb.cpt.000',
    'b.cpt.000~',
  ])('%s is none', (name) => {
    expect(isPartOf('b.cpt', name)).toBe(false);
  });

  it('lead from the first part to the image', () => {
    expect(imageOfFirstPart('a/b.000')).toBe('a/b');
    for (const path of ['a/b', 'a/b.001', 'a/b.0000'])
      expect(imageOfFirstPart(path)).toBe(undefined);
  });
});

describe('lengths of parts', () => {
  const PARTS = [1, 2, 3, 7, 16, 999, 1000];
  const BYTES = [1, 208, 4095, 4096, 4097, 8192, 12_289, 4096 * 1000, 5e6 + 8, 2 ** 40 + 8];

  it('add up to the image, in whole blocks, in no more parts than asked for', () => {
    for (const bytes of BYTES) {
      for (const parts of PARTS) {
        const length = partLength(bytes, parts);
        const count = partCount(bytes, length);
        const lengths = Array.from({ length: count }, (_, part) =>
          bytesOfPart(bytes, length, part),
        );
        const what = `${bytes} bytes, ${parts} parts`;
        expect(length % 4096, what).toBe(0);
        expect(count, what).toBeLessThanOrEqual(parts);
        if (bytes >= parts * parts * 4096) expect(count, what).toBe(parts);
        expect(
          lengths.slice(0, -1).every((one) => one === length),
          what,
        ).toBe(true);
        expect(lengths.at(-1), what).toBeGreaterThan(0);
        expect(
          lengths.reduce((sum, one) => sum + one, 0),
          what,
        ).toBe(bytes);
      }
    }
  });
});
