import { describe, expect, it } from 'vitest';
import type { UserDesc } from '../../../src/mmu/calls/ldt.ts';
import { codeOf, testMachine } from '../../support/machine/machine.ts';

const CODE: UserDesc = { entryNumber: 0, baseAddr: 0, limit: 0xfffff, contents: 2 };

/** Descriptors as a program on real hardware reads them back from modify_ldt(0, …). */
function ldtOf(...descs: UserDesc[]): string {
  const space = testMachine().createAddressSpace();
  for (const desc of descs) space.modifyLdt(desc);
  return Buffer.from(space.readLdt()).toString('hex');
}

describe('modify_ldt', () => {
  it('encodes a flat 32-bit data segment', () => {
    const desc: UserDesc = {
      entryNumber: 0,
      baseAddr: 0,
      limit: 0xfffff,
      seg32bit: true,
      limitInPages: true,
      useable: true,
    };
    expect(ldtOf(desc)).toBe('ffff000000f3df00');
  });

  it('encodes base, limit, code, read-only, not present', () => {
    const desc: UserDesc = {
      entryNumber: 1,
      baseAddr: 0x12345678,
      limit: 0xabcde,
      contents: 3,
      readExecOnly: true,
      segNotPresent: true,
    };
    expect(ldtOf(desc)).toBe(`${'00'.repeat(8)}debc7856347d0a12`);
  });

  it('grows to the highest entry and never shrinks', () => {
    const clear: UserDesc = {
      entryNumber: 4,
      baseAddr: 0,
      limit: 0,
      readExecOnly: true,
      segNotPresent: true,
    };
    expect(ldtOf({ ...CODE, entryNumber: 4 }, clear)).toBe('00'.repeat(40));
  });

  it.each<[string, UserDesc, boolean]>([
    ['entry beyond 8191', { ...CODE, entryNumber: 8192 }, false],
    ['negative entry', { ...CODE, entryNumber: -1 }, false],
    ['base beyond 32 bits', { ...CODE, baseAddr: 2 ** 32 }, false],
    ['conforming code that is present', { ...CODE, contents: 3 }, false],
    ['conforming code in old mode', { ...CODE, contents: 3, segNotPresent: true }, true],
  ])('%s is EINVAL and changes nothing', (_name, desc, oldMode) => {
    const space = testMachine().createAddressSpace();
    expect(codeOf(() => space.modifyLdt(desc, oldMode))).toBe('EINVAL');
    expect(space.readLdt()).toHaveLength(0);
  });

  it('in old mode clears an entry without base and limit, and never sets AVL', () => {
    const space = testMachine().createAddressSpace();
    space.modifyLdt({ ...CODE, useable: true }, true);
    const withoutAvl = Buffer.from(space.readLdt()).toString('hex');
    space.modifyLdt({ ...CODE, useable: false });
    expect(Buffer.from(space.readLdt()).toString('hex')).toBe(withoutAvl);
    space.modifyLdt({ entryNumber: 0, baseAddr: 0, limit: 0, seg32bit: true }, true);
    expect(Buffer.from(space.readLdt()).toString('hex')).toBe('00'.repeat(8));
  });
});
