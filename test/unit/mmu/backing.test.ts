/** Pages in a backing: entries, faults, and what each call does with them. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { walk } from '../../../src/mmu/tables/page-table.ts';
import {
  backedHigh,
  backedLow,
  backingOf,
  isBacked,
  isGuard,
  isPresent,
  placeOf,
} from '../../../src/mmu/tables/pte.ts';
import { PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';
import { BackingFile } from '../../support/machine/backed.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import {
  codeOf,
  freeFrames,
  pageOf,
  readBytes,
  testMachine,
} from '../../support/machine/machine.ts';

const BASE = 0x4000_0000;
const ANON = ['private', 'anonymous', 'fixed'] as const;
const files: BackingFile[] = [];

afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

/** `pages` pages, of which page n is filled with n + 1. */
function content(pages: number): Uint8Array {
  return new Uint8Array(pages * PAGE_SIZE).map((_, at) => Math.floor(at / PAGE_SIZE) + 1);
}

/** A machine with one mapping of `pages` pages, all of which lie in a file. */
function backedSpace(pages: number): {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly file: BackingFile;
} {
  const machine = testMachine();
  const space = machine.createAddressSpace();
  space.mmap({ address: BASE, length: pages * PAGE_SIZE, prot: 'rw', flags: ANON });
  const file = new BackingFile(machine, content(pages));
  files.push(file);
  file.map(space, BASE, pages);
  return { machine, space, file };
}

/** The two words of the entry of a page. */
function readEntry(space: AddressSpace, address: number): { low: number; high: number } {
  const { mm } = space;
  walk(mm, mm.pgd, vpnOf(address), mm.cursor);
  const { words, at } = mm.cursor;
  return { low: words[at]!, high: words[at + 1]! };
}

describe('a backed entry', () => {
  it('names its backing and place, and is no entry of another kind', () => {
    const place = fc.oneof(
      fc.integer({ min: 0, max: 2 ** 21 }),
      fc
        .tuple(fc.nat({ max: 2 ** 20 - 1 }), fc.nat({ max: 2 ** 20 - 1 }))
        .map(([high, low]) => high * 2 ** 20 + low),
      fc.constantFrom(0, 2 ** 20 - 1, 2 ** 20, 2 ** 40 - 1),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 127 }), place, (backing, at) => {
        const low = backedLow(at);
        const high = backedHigh(backing, at);
        expect(isBacked(low)).toBe(true);
        expect(low).not.toBe(0);
        expect(isPresent(low)).toBe(false);
        expect(isGuard(low, high)).toBe(false);
        expect(backingOf(high)).toBe(backing);
        expect(placeOf(low, high)).toBe(at);
        expect(Math.trunc(high)).toBe(high | 0);
      }),
    );
  });
});

describe('a backed page', () => {
  it('takes no frame until it is touched, and is then an ordinary page', () => {
    const { machine, space } = backedSpace(600);
    const before = freeFrames(machine);
    expect(space.mincore(BASE, 600 * PAGE_SIZE).every((resident) => resident === 0)).toBe(true);
    expect(readBytes(space, BASE + 599 * PAGE_SIZE, 4)).toEqual(new Uint8Array(4).fill(600 & 0xff));
    expect(freeFrames(machine)).toBe(before - 1);
    space.write(BASE + 5 * PAGE_SIZE + 1, new Uint8Array([99]));
    expect(readBytes(space, BASE + 5 * PAGE_SIZE, 3)).toEqual(new Uint8Array([6, 99, 6]));
    expect(freeFrames(machine)).toBe(before - 2);
    assertTablesTrue(machine);
  });

  it('is loaded with the rights of its mapping', () => {
    const { space } = backedSpace(4);
    space.mprotect(BASE, 2 * PAGE_SIZE, 'r');
    expect(codeOf(() => space.write(BASE, pageOf(1)))).toBe('SIGSEGV');
    expect(readBytes(space, BASE + PAGE_SIZE, 1)).toEqual(new Uint8Array([2]));
    expect(codeOf(() => space.write(BASE + PAGE_SIZE, pageOf(1)))).toBe('SIGSEGV');
    space.mprotect(BASE, 2 * PAGE_SIZE, 'rw');
    space.write(BASE, pageOf(7));
    expect(readBytes(space, BASE, 1)).toEqual(new Uint8Array([7]));
  });

  it('is of both mms after a fork, and what one writes the other does not see', () => {
    const { machine, space } = backedSpace(4);
    const child = space.fork();
    child.write(BASE, new Uint8Array([50]));
    space.write(BASE + PAGE_SIZE, new Uint8Array([51]));
    expect(readBytes(space, BASE, 2)).toEqual(new Uint8Array([1, 1]));
    expect(readBytes(child, BASE + PAGE_SIZE, 2)).toEqual(new Uint8Array([2, 2]));
    expect(readBytes(child, BASE, 2)).toEqual(new Uint8Array([50, 1]));
    assertTablesTrue(machine);
  });

  it('moves with mremap, goes with munmap, and is zeros after MADV_DONTNEED', () => {
    const { machine, space } = backedSpace(8);
    const moved = BASE + 0x100_0000;
    space.mremap(BASE, 8 * PAGE_SIZE, 8 * PAGE_SIZE, ['maymove', 'fixed'], moved);
    space.madvise(moved, PAGE_SIZE, 'dontneed');
    space.munmap(moved + PAGE_SIZE, PAGE_SIZE);
    expect(readBytes(space, moved, 2)).toEqual(new Uint8Array([0, 0]));
    expect(codeOf(() => readBytes(space, moved + PAGE_SIZE, 1))).toBe('SIGSEGV');
    expect(readBytes(space, moved + 2 * PAGE_SIZE, 1)).toEqual(new Uint8Array([3]));
    assertTablesTrue(machine);
  });

  it('is faulted in by mlock, and left alone by reclaim and merging', async () => {
    const { machine, space } = backedSpace(6);
    const before = freeFrames(machine);
    space.mlock(BASE, 2 * PAGE_SIZE);
    expect(freeFrames(machine)).toBe(before - 2);
    space.madvise(BASE + 2 * PAGE_SIZE, 4 * PAGE_SIZE, 'mergeable');
    space.madvise(BASE + 2 * PAGE_SIZE, 4 * PAGE_SIZE, 'pageout');
    machine.mergePages();
    machine.reclaim(6 * PAGE_SIZE);
    for (let page = 2; page < 6; page++) {
      expect(isBacked(readEntry(space, BASE + page * PAGE_SIZE).low)).toBe(true);
    }
    expect(readBytes(space, BASE + 5 * PAGE_SIZE, 1)).toEqual(new Uint8Array([6]));
    assertTablesTrue(machine);
  });

  it('lies at any place, also where the low half of places begins anew', () => {
    const { machine, space, file } = backedSpace(1);
    const at = BASE + 0x100_0000;
    space.mmap({ address: at, length: 6 * PAGE_SIZE, prot: 'rw', flags: ANON });
    file.map(space, at, 6, 2 ** 20 - 3);
    const places = [...Array(6).keys()].map((page) => {
      const { low, high } = readEntry(space, at + page * PAGE_SIZE);
      return placeOf(low, high);
    });
    expect(places).toEqual([...Array(6).keys()].map((page) => 2 ** 20 - 3 + page));
    assertTablesTrue(machine);
  });

  it('that cannot be read is SIGBUS at its address, and takes nothing', () => {
    const { machine, space, file } = backedSpace(4);
    file.release();
    const before = freeFrames(machine);
    const read = (): unknown => readBytes(space, BASE + 2 * PAGE_SIZE, 1);
    expect(codeOf(read)).toBe('SIGBUS');
    expect(read).toThrow(/process 4000000: its page at 0x2000 cannot be read: it was released/);
    expect(freeFrames(machine)).toBe(before);
    assertTablesTrue(machine);
  });

  it('beyond the end of its backing is SIGBUS as well', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    space.mmap({ address: BASE, length: 4 * PAGE_SIZE, prot: 'rw', flags: ANON });
    const file = new BackingFile(machine, content(1));
    files.push(file);
    file.map(space, BASE, 4);
    expect(readBytes(space, BASE, 1)).toEqual(new Uint8Array([1]));
    expect(() => readBytes(space, BASE + PAGE_SIZE, 1)).toThrow(/has no memory any more/);
  });

  it('costs a number of which there are 128 in the life of a machine', () => {
    const { machine } = backedSpace(1);
    const add = (): number => machine.parts.backings.add({ kind: 1, fd: 0, pid: 1 });
    for (let backing = 1; backing < 128; backing++) expect(add()).toBe(backing);
    expect(codeOf(add)).toBe('EMFILE');
  });
});
