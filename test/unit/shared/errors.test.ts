import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  AbortError,
  fromFailure,
  KERNEL_CODES,
  MMDUMP_CODES,
  MmdumpError,
  reasonOf,
  toFailure,
} from '../../../src/shared/errors.ts';

describe('error codes', () => {
  it('are all documented, and no others', () => {
    const text = readFileSync(new URL('../../../docs/ERRORS.md', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^\| ([A-Z_]+) \|/gm)].map(([, code]) => code);
    expect(documented).toEqual([...KERNEL_CODES, ...MMDUMP_CODES]);
  });
});

describe('a failure that crosses a thread', () => {
  it('keeps code, message and fields', () => {
    const error = new MmdumpError('OUTPUT_FAILED', 'a.cpt: disk full', {
      path: 'a.cpt',
      offset: 5,
    });
    const copy = fromFailure(structuredClone(toFailure(error)), 3, 'copy');
    expect(copy).toBeInstanceOf(MmdumpError);
    expect(copy).toMatchObject({
      code: 'OUTPUT_FAILED',
      message: 'a.cpt: disk full',
      fields: { path: 'a.cpt', offset: 5, worker: 3 },
    });
  });

  it('names worker and task of a crash, and keeps its stack', () => {
    const copy = fromFailure(toFailure(new TypeError('x is not a function')), 1, 'classify');
    expect(copy).toMatchObject({
      code: 'WORKER_LOST',
      message: 'worker 1 failed in classify: TypeError: x is not a function',
      stack: expect.stringContaining('errors.test.ts'),
    });
    expect(fromFailure(toFailure(new TypeError('x')), 1, 'copy', 0)).toMatchObject({
      message: 'worker 1 failed in copy, unit 0: TypeError: x',
      fields: { worker: 1, unit: 0, reason: 'TypeError: x' },
    });
    expect(fromFailure(toFailure('just a string'), 0, 'copy').message).toContain('just a string');
  });

  it('stays an abort', () => {
    expect(fromFailure(toFailure(new AbortError()), 0, 'copy')).toMatchObject({
      code: 'ABORT_ERR',
    });
  });
});

describe('reasons', () => {
  it("are the system's words without Node's decoration", () => {
    const error = new Error("ENOENT: no such file or directory, open '/x'");
    expect(reasonOf(error)).toBe('no such file or directory (ENOENT)');
    expect(reasonOf(new Error('plain'))).toBe('plain');
    expect(reasonOf(7)).toBe('7');
  });
});
