import { describe, expect, it } from 'vitest';
import { parseSize, wholeNumber } from '../../../src/main/cli/sizes.ts';
import { formatBytes, formatMs } from '../../../src/shared/human-units.ts';

describe('sizes', () => {
  it.each([
    ['4096', 4096],
    ['64M', 64 * 2 ** 20],
    ['1g', 2 ** 30],
    ['2T', 2 ** 41],
    ['3k', 3072],
  ])('%s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'M', '1.5G', '-1', '0', '1X', '1 M', '9999999T'])("'%s' is refused", (text) => {
    expect(() => parseSize(text)).toThrow(/size/);
  });

  it('prints three digits', () => {
    expect([0, 1023, 1024, 1536, 150 * 2 ** 20].map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1.00 KiB',
      '1.50 KiB',
      '150 MiB',
    ]);
    expect([0.04, 12.34, 123.4, 1234].map(formatMs)).toEqual([
      '0.0 ms',
      '12.3 ms',
      '123 ms',
      '1.23 s',
    ]);
  });
});

describe('whole numbers', () => {
  it('have bounds', () => {
    const parse = wholeNumber(1, 8);
    expect(parse('8')).toBe(8);
    for (const text of ['0', '9', '1.5', 'x', '', '1e1']) expect(() => parse(text)).toThrow();
  });
});
