import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { errnoOf, reasonOf } from '../../../src/shared/errors.ts';
import {
  armFaults,
  FAULT_POINTS,
  type Fault,
  faultAt,
  passesOf,
  systemError,
} from '../../../src/shared/faults.ts';

describe('a fault', () => {
  it('happens once, at the pass that it names', () => {
    const armed = armFaults([{ point: 'link', nth: 2, action: { kind: 'errno', errno: 'EIO' } }]);
    const kinds = [1, 2, 3].map(() => faultAt(armed, 'link')?.kind);
    expect(kinds).toEqual([undefined, 'errno', undefined]);
    expect(faultAt(armed, 'rename')).toBeUndefined();
    expect(passesOf(armed, 0)).toBe(3);
  });

  it('counts only the phase and the worker that it names', () => {
    const at: Omit<Fault, 'action'> = { point: 'unit', nth: 1, phase: 'copy', worker: 1 };
    const armed = armFaults([{ ...at, action: { kind: 'throw' } }]);
    expect(faultAt(armed, 'unit', 'copy', 0)).toBeUndefined();
    expect(faultAt(armed, 'unit', 'load', 1)).toBeUndefined();
    expect(passesOf(armed, 0)).toBe(0);
    expect(faultAt(armed, 'unit', 'copy', 1)).toEqual({ kind: 'throw' });
  });

  it("is told in the system's words", () => {
    const error = systemError('ENOSPC', 'write');
    expect(errnoOf(error)).toBe('ENOSPC');
    expect(reasonOf(error)).toBe('no space left on device (ENOSPC)');
  });
});

it('every point is documented, and no others', () => {
  const text = readFileSync(new URL('../../../docs/RELIABILITY.md', import.meta.url), 'utf8');
  const documented = [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, point]) => point);
  expect(documented).toEqual([...FAULT_POINTS]);
});
