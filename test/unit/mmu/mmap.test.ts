import { describe, expect, it } from 'vitest';
import { MiB, PAGE_SIZE, TASK_SIZE } from '../../../src/shared/page.ts';
import {
  codeOf,
  freeFrames,
  maps,
  pageOf,
  readBytes,
  testMachine,
} from '../../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;
const BASE = 0x10000000;

function fixed(address: number, pages: number) {
  return { ...ANON, address, length: pages * PAGE_SIZE, flags: [...ANON.flags, 'fixed'] } as const;
}

describe('mmap', () => {
  it('places mappings below mmap_base, downwards, and merges neighbours', () => {
    const space = testMachine().createAddressSpace();
    const first = space.mmap({ ...ANON, length: PAGE_SIZE });
    const second = space.mmap({ ...ANON, length: 2 * PAGE_SIZE });
    expect(first).toBe(0x7ffff7ffe000);
    expect(second).toBe(first - 2 * PAGE_SIZE);
    expect(maps(space)).toEqual(['7ffff7ffc000-7ffff7fff000 rw-p']);
  });

  it('fills the highest gap that is large enough', () => {
    const space = testMachine().createAddressSpace();
    const top = space.mmap({ ...ANON, length: 8 * PAGE_SIZE });
    space.munmap(top + 2 * PAGE_SIZE, PAGE_SIZE);
    space.munmap(top + 4 * PAGE_SIZE, 2 * PAGE_SIZE);
    expect(space.mmap({ ...ANON, prot: 'r', length: 2 * PAGE_SIZE })).toBe(top + 4 * PAGE_SIZE);
    expect(space.mmap({ ...ANON, prot: 'r', length: PAGE_SIZE })).toBe(top + 2 * PAGE_SIZE);
  });

  it('takes a free hint and ignores one that is taken', () => {
    const space = testMachine().createAddressSpace();
    expect(space.mmap({ ...ANON, length: PAGE_SIZE, address: BASE })).toBe(BASE);
    expect(space.mmap({ ...ANON, length: PAGE_SIZE, address: BASE })).not.toBe(BASE);
  });

  it('replaces what is there with fixed, refuses with fixed_noreplace', () => {
    const space = testMachine().createAddressSpace();
    space.mmap(fixed(BASE, 4));
    space.write(BASE + PAGE_SIZE, pageOf(7));
    space.mmap({ ...fixed(BASE + PAGE_SIZE, 1), prot: 'r' });
    expect(maps(space)).toEqual([
      '10000000-10001000 rw-p',
      '10001000-10002000 r--p',
      '10002000-10004000 rw-p',
    ]);
    expect(readBytes(space, BASE + PAGE_SIZE, 1)).toEqual(new Uint8Array([0]));
    const noReplace = [...ANON.flags, 'fixed_noreplace'] as const;
    const request = { ...ANON, address: BASE, length: PAGE_SIZE, flags: noReplace };
    expect(codeOf(() => space.mmap(request))).toBe('EEXIST');
  });

  it.each([
    ['zero length', { ...ANON, length: 0 }, 'EINVAL'],
    ['fraction of a byte', { ...ANON, length: 0.5 }, 'EINVAL'],
    ['neither private nor shared', { ...ANON, length: 1, flags: ['anonymous'] }, 'EINVAL'],
    [
      'private and shared',
      { ...ANON, length: 1, flags: ['private', 'shared', 'anonymous'] },
      'EINVAL',
    ],
    ['no file', { ...ANON, length: 1, flags: ['private'] }, 'EBADF'],
    ['unknown file', { ...ANON, length: 1, flags: ['private'], file: 99 }, 'EBADF'],
    ['offset inside a page', { ...ANON, length: 1, offset: 5 }, 'EINVAL'],
    ['fixed inside a page', { ...fixed(BASE + 1, 1) }, 'EINVAL'],
    ['fixed below mmap_min_addr', { ...fixed(PAGE_SIZE, 1) }, 'EPERM'],
    ['fixed beyond user space', { ...fixed(TASK_SIZE, 1) }, 'ENOMEM'],
    ['longer than user space', { ...ANON, length: TASK_SIZE + PAGE_SIZE }, 'ENOMEM'],
    ['bad protection', { ...ANON, length: 1, prot: 'q' }, 'EINVAL'],
  ] as const)('%s is %s', (_name, request, code) => {
    const space = testMachine().createAddressSpace();
    expect(codeOf(() => space.mmap(request as never))).toBe(code);
    expect(maps(space)).toEqual([]);
  });
});

describe('munmap', () => {
  it('splits a mapping and gives every frame and table back', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const before = freeFrames(machine);
    space.mmap(fixed(BASE, 8));
    space.fill(BASE, 8 * PAGE_SIZE, 1);
    space.munmap(BASE + 2 * PAGE_SIZE, 3 * PAGE_SIZE);
    expect(maps(space)).toEqual(['10000000-10002000 rw-p', '10005000-10008000 rw-p']);
    expect(codeOf(() => readBytes(space, BASE + 2 * PAGE_SIZE, 1))).toBe('SIGSEGV');
    expect(readBytes(space, BASE + 5 * PAGE_SIZE, 1)).toEqual(new Uint8Array([1]));
    space.munmap(BASE, 8 * PAGE_SIZE);
    expect(freeFrames(machine)).toBe(before);
  });

  it('is nothing where nothing is mapped', () => {
    const space = testMachine().createAddressSpace();
    expect(codeOf(() => space.munmap(BASE, PAGE_SIZE))).toBe('nothing');
  });

  it.each([
    ['inside a page', 1, PAGE_SIZE],
    ['zero length', BASE, 0],
    ['beyond user space', TASK_SIZE, 2 * PAGE_SIZE],
    ['negative', -PAGE_SIZE, PAGE_SIZE],
  ])('%s is EINVAL', (_name, address, length) => {
    const space = testMachine().createAddressSpace();
    expect(codeOf(() => space.munmap(address, length))).toBe('EINVAL');
  });
});

describe('mprotect', () => {
  it('splits, and merges again when the protection is the same', () => {
    const space = testMachine().createAddressSpace();
    space.mmap(fixed(BASE, 4));
    space.fill(BASE, 4 * PAGE_SIZE, 5);
    space.mprotect(BASE + PAGE_SIZE, PAGE_SIZE, 'r');
    expect(maps(space)).toHaveLength(3);
    expect(codeOf(() => space.write(BASE + PAGE_SIZE, pageOf(1)))).toBe('SIGSEGV');
    space.mprotect(BASE + PAGE_SIZE, PAGE_SIZE, 'rw');
    expect(maps(space)).toEqual(['10000000-10004000 rw-p']);
    space.write(BASE + PAGE_SIZE, pageOf(6));
    expect(readBytes(space, BASE + PAGE_SIZE, 1)[0]).toBe(6);
  });

  it('keeps what lies under PROT_NONE', () => {
    const space = testMachine().createAddressSpace();
    space.mmap(fixed(BASE, 2));
    space.write(BASE, pageOf(9));
    space.mprotect(BASE, 2 * PAGE_SIZE, '');
    expect(codeOf(() => readBytes(space, BASE, 1))).toBe('SIGSEGV');
    space.mprotect(BASE, 2 * PAGE_SIZE, 'r');
    expect(readBytes(space, BASE, 1)[0]).toBe(9);
  });

  it('changes what precedes a hole, then fails with ENOMEM', () => {
    const space = testMachine().createAddressSpace();
    space.mmap(fixed(BASE, 1));
    space.mmap(fixed(BASE + 2 * PAGE_SIZE, 1));
    expect(codeOf(() => space.mprotect(BASE, 3 * PAGE_SIZE, 'r'))).toBe('ENOMEM');
    expect(maps(space)).toEqual(['10000000-10001000 r--p', '10002000-10003000 rw-p']);
  });
});

describe('the map limit', () => {
  it('is 65530 mappings, then ENOMEM', () => {
    const space = testMachine({ memory: 2 * MiB }).createAddressSpace();
    for (let index = 0; index < 65_530; index++) {
      space.mmap(fixed(BASE + index * 2 * PAGE_SIZE, 1));
    }
    expect(codeOf(() => space.mmap(fixed(BASE + PAGE_SIZE * 0x100000, 1)))).toBe('ENOMEM');
    expect(codeOf(() => space.mmap({ ...ANON, length: PAGE_SIZE }))).toBe('ENOMEM');
    space.munmap(BASE, PAGE_SIZE);
    expect(codeOf(() => space.mmap(fixed(BASE, 1)))).toBe('nothing');
  });
});
