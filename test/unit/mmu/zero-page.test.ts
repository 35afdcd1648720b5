/**
 * The rules of a machine without a zero page (createMachine({ zeroPage: false })), each next to the
 * rule with one: kernels differ in this, see docs/LINUX.md.
 */
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { readPte } from '../../../src/mmu/machine/debug.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { PG } from '../../../src/mmu/physical/page-struct.ts';
import { PTE } from '../../../src/mmu/tables/pte.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { maps, pageOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;
const BASE = 0x4000_0000;

interface Subject {
  readonly machine: Machine;
  readonly space: AddressSpace;
}

function mapped(zeroPage: boolean, pages: number, prot: 'r' | 'rw' = 'rw'): Subject {
  const machine = testMachine({ zeroPage, swap: MiB, maxAddressSpaces: 3 });
  const space = machine.createAddressSpace();
  space.mmap({ ...ANON, address: BASE, length: pages * PAGE_SIZE, prot });
  return { machine, space };
}

function pageFlags({ machine, space }: Subject, address: number): number {
  return machine.parts.pages.flags(readPte(space, address).pfn);
}

function touch(space: AddressSpace, address: number): void {
  space.read(address, new Uint8Array(1));
}

const flagsOf = (space: AddressSpace): string[] => [...space.vmas()[0]!.flagNames];

describe('a read of memory that nobody wrote', () => {
  it.each([
    ['rw', true],
    ['r', false],
  ] as const)('maps a page of its own in a mapping with %s', (prot, writable) => {
    const subject = mapped(false, 2, prot);
    expect(readBytes(subject.space, BASE, PAGE_SIZE)).toEqual(pageOf(0));
    const { pfn, low } = readPte(subject.space, BASE);
    expect(pageFlags(subject, BASE)).toBe(PG.ANON | PG.SWAPBACKED);
    expect(subject.machine.parts.pages.references(pfn)).toBe(1);
    expect((low & PTE.WRITE) !== 0).toBe(writable);
    expect((low & PTE.DIRTY) !== 0).toBe(writable);
    assertTablesTrue(subject.machine);
  });

  it('keeps that page when it is written, also after mprotect', () => {
    const { machine, space } = mapped(false, 2, 'r');
    touch(space, BASE);
    const { pfn } = readPte(space, BASE);
    space.mprotect(BASE, 2 * PAGE_SIZE, 'rw');
    space.write(BASE, new Uint8Array([1]));
    expect(readPte(space, BASE).pfn).toBe(pfn);
    assertTablesTrue(machine);
  });

  it('maps a fresh one after every MADV_DONTNEED, and zeros again', () => {
    const { space } = mapped(false, 1);
    touch(space, BASE);
    space.fill(BASE, PAGE_SIZE, 7);
    space.madvise(BASE, PAGE_SIZE, 'dontneed');
    expect(readBytes(space, BASE, PAGE_SIZE)).toEqual(pageOf(0));
  });

  it('needs a frame: ENOMEM where there is none', () => {
    const machine = testMachine({ zeroPage: false, memory: MiB });
    const space = machine.createAddressSpace();
    space.mmap({ ...ANON, address: BASE, length: 2 * MiB });
    const out = expect.objectContaining({ code: 'ENOMEM' });
    expect(() => space.read(BASE, new Uint8Array(2 * MiB))).toThrow(out);
    assertTablesTrue(machine);
  });

  it('does so from every thread that is attached', () => {
    const { machine, space } = mapped(false, 2);
    const view = attach(structuredClone(space.handle));
    touch(view, BASE);
    expect(pageFlags({ machine, space }, BASE)).toBe(PG.ANON | PG.SWAPBACKED);
    view.mm.machine.detach();
  });

  it.each([true, false])('is unlike that of a page of a file, zero page: %s', (zeroPage) => {
    const { machine, space } = mapped(zeroPage, 1);
    const file = machine.createFile({ path: '/lib/a', content: new Uint8Array(PAGE_SIZE) }).id;
    const flags = ['private', 'fixed'] as const;
    space.mmap({ address: BASE, length: PAGE_SIZE, prot: 'rw', flags, file });
    touch(space, BASE);
    expect(pageFlags({ machine, space }, BASE) & (PG.ANON | PG.ZERO)).toBe(0);
  });
});

describe('what such a page brings along', () => {
  it.each([
    [true, false],
    [false, true],
  ])('mprotect keeps VM_ACCOUNT, zero page %s: %s', (zeroPage, isKept) => {
    const { space } = mapped(zeroPage, 4);
    touch(space, BASE);
    space.mprotect(BASE, 4 * PAGE_SIZE, 'r');
    expect(flagsOf(space).includes('ACCOUNT')).toBe(isKept);
  });

  it.each([
    [true, [0, 0]],
    [false, [1, 0]],
  ])('a fork copies the tables, zero page %s', (zeroPage, resident) => {
    const { machine, space } = mapped(zeroPage, 2);
    touch(space, BASE);
    const child = space.fork();
    expect([...child.mincore(BASE, 2 * PAGE_SIZE)]).toEqual(resident);
    child.fill(BASE, PAGE_SIZE, 1);
    expect(readBytes(space, BASE, PAGE_SIZE)).toEqual(pageOf(0));
    assertTablesTrue(machine);
  });

  it.each([
    [true, 1],
    [false, 2],
  ])(
    'moved away and back beside a written mapping, zero page %s: %i mappings',
    (zeroPage, count) => {
      const { space } = mapped(zeroPage, 2);
      const [next, away] = [BASE + 2 * PAGE_SIZE, BASE + 64 * PAGE_SIZE];
      const move = ['maymove', 'fixed'] as const;
      space.fill(BASE, PAGE_SIZE, 1);
      space.mmap({ ...ANON, address: away, length: 2 * PAGE_SIZE });
      touch(space, away);
      space.mremap(away, 2 * PAGE_SIZE, 2 * PAGE_SIZE, move, next);
      expect(maps(space)).toHaveLength(count);
    },
  );

  it('goes to swap, and comes back', () => {
    const { machine, space } = mapped(false, 2);
    touch(space, BASE);
    space.madvise(BASE, PAGE_SIZE, 'pageout');
    expect(machine.swap.total - machine.swap.free).toBe(PAGE_SIZE);
    expect(readBytes(space, BASE, PAGE_SIZE)).toEqual(pageOf(0));
    assertTablesTrue(machine);
  });

  it.each([
    [true, 0],
    [false, 3],
  ])('is merged with its equals by KSM, zero page %s: %i', (zeroPage, merged) => {
    const { machine, space } = mapped(zeroPage, 4);
    space.madvise(BASE, 4 * PAGE_SIZE, 'mergeable');
    for (let page = 0; page < 4; page++) touch(space, BASE + page * PAGE_SIZE);
    expect(machine.mergePages()).toBe(merged);
    assertTablesTrue(machine);
  });
});

describe('where the kernel reads for the program', () => {
  it.each(['populate_read', 'locked', 'populate'] as const)('%s maps fresh pages', (how) => {
    const { machine, space } = mapped(false, 1);
    const flags = how === 'populate_read' ? ANON.flags : ([...ANON.flags, how] as const);
    space.mmap({ ...ANON, flags, address: BASE, length: 3 * PAGE_SIZE, prot: 'r' });
    if (how === 'populate_read') space.madvise(BASE, 3 * PAGE_SIZE, 'populate_read');
    for (const page of [0, 1, 2]) {
      expect(pageFlags({ machine, space }, BASE + page * PAGE_SIZE)).toBe(PG.ANON | PG.SWAPBACKED);
    }
    assertTablesTrue(machine);
  });
});

describe('a 2 MiB page', () => {
  it.each(['r', 'rw'] as const)('is a fresh one, of 512 frames, in a mapping with %s', (prot) => {
    const machine = testMachine({ zeroPage: false });
    const space = machine.createAddressSpace();
    space.mmap({ ...ANON, address: BASE, length: 2 * MiB, prot });
    space.madvise(BASE, 2 * MiB, 'hugepage');
    touch(space, BASE + 5 * PAGE_SIZE);
    const { level, low, pfn } = readPte(space, BASE);
    expect(level).toBe(2);
    expect((low & PTE.WRITE) !== 0).toBe(prot === 'rw');
    expect(machine.parts.pages.flags(pfn + 511) & (PG.ANON | PG.HUGE)).toBe(PG.ANON | PG.HUGE);
    assertTablesTrue(machine);
    space.mprotect(BASE, 2 * MiB, 'rw');
    space.write(BASE, new Uint8Array([1])); // written in place: no other mm has the page
    expect(readPte(space, BASE)).toMatchObject({ level: 2, pfn });
  });

  it('is made of small ones where there is no such block', () => {
    const machine = testMachine({ zeroPage: false, memory: 2 * MiB });
    const space = machine.createAddressSpace();
    space.mmap({ ...ANON, address: BASE, length: 2 * MiB });
    space.madvise(BASE, 2 * MiB, 'hugepage');
    touch(space, BASE);
    expect(readPte(space, BASE).level).toBe(1);
    assertTablesTrue(machine);
  });
});
