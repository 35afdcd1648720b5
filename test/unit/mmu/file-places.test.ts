/** Pages of files in memory that lie in a backing: the list, faults, reclaim, and what calls do. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { encodePlaces, FilePlaces, type PlacedRun } from '../../../src/mmu/files/file-places.ts';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { readPte } from '../../../src/mmu/machine/debug.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import type { MachineOptions } from '../../../src/mmu/mm/create-machine.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
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
const OTHER = 0x6000_0000;
const files: BackingFile[] = [];

afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

/** Lists without overlaps, in ascending order. */
const LIST = fc
  .array(
    fc.record({
      gap: fc.nat({ max: 3 }),
      pages: fc.integer({ min: 1, max: 5 }),
      backing: fc.nat({ max: 127 }),
      place: fc.oneof(fc.nat({ max: 9 }), fc.constant(2 ** 40 - 9)),
    }),
    { maxLength: 8 },
  )
  .map((runs) => {
    let next = 0;
    return runs.map(({ gap, pages, backing, place }): PlacedRun => {
      const index = next + gap;
      next = index + pages;
      return { index, pages, backing, place };
    });
  });

describe('the list of places', () => {
  it('finds exactly what was put into it', () => {
    fc.assert(
      fc.property(LIST, (runs) => {
        const places = new FilePlaces(new Int32Array(encodePlaces(runs).buffer));
        expect(places.count).toBe(runs.length);
        for (let index = 0; index < 70; index++) {
          const wanted = runs.find((run) => run.index <= index && index < run.index + run.pages);
          const run = places.find(index);
          expect(run).toBe(wanted === undefined ? -1 : runs.indexOf(wanted));
          const after = runs.findIndex((each) => each.index + each.pages > index);
          expect(places.firstAfter(index)).toBe(after < 0 ? runs.length : after);
          if (wanted === undefined) continue;
          expect(places.backing(run)).toBe(wanted.backing);
          expect(places.place(run, index)).toBe(wanted.place + index - wanted.index);
        }
      }),
    );
  });
});

const PAGES = 40;

interface Placed {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly file: BackingFile;
  readonly id: number;
}

/** Byte that fills page `index` of the file: those from 10 to 19 are neither loaded nor placed. */
function fillOf(index: number): number {
  return index >= 10 && index < 20 ? 0 : index + 1;
}

/** A machine with a memory file of 40 pages, mapped shared at BASE, whose places are out of order. */
function placedFile(options: Partial<MachineOptions> = {}): Placed {
  const machine = testMachine(options);
  const space = machine.createAddressSpace();
  const content = new Uint8Array(PAGES * PAGE_SIZE);
  for (let place = 0; place < 30; place++) {
    const index = place < 20 ? place + 20 : place - 20;
    content.fill(fillOf(index), place * PAGE_SIZE, (place + 1) * PAGE_SIZE);
  }
  const file = new BackingFile(machine, content);
  files.push(file);
  const id = file.createFile(PAGES, [
    { index: 0, pages: 10, place: 20 },
    { index: 20, pages: 20, place: 0 },
  ]);
  map(space, BASE, id);
  return { machine, space, file, id };
}

function map(space: AddressSpace, address: number, file: number, isPrivate = false): void {
  const flags = [isPrivate ? 'private' : 'shared', 'fixed'] as const;
  space.mmap({ address, length: PAGES * PAGE_SIZE, prot: 'rw', flags, file, offset: 0 });
}

function valueAt(space: AddressSpace, address: number): number {
  const bytes = readBytes(space, address, PAGE_SIZE);
  expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
  return bytes[0]!;
}

function expectFile(space: AddressSpace, base: number, except: ReadonlyMap<number, number>): void {
  for (let index = 0; index < PAGES; index++) {
    expect(valueAt(space, base + index * PAGE_SIZE)).toBe(except.get(index) ?? fillOf(index));
  }
}

const NONE: ReadonlyMap<number, number> = new Map();

describe('a page of a file that lies in a backing', () => {
  it('takes no frame until it is touched; mincore says so', () => {
    const { machine, space } = placedFile();
    const before = freeFrames(machine);
    expect(space.mincore(BASE, PAGES * PAGE_SIZE).every((resident) => resident === 0)).toBe(true);
    expect(freeFrames(machine)).toBe(before);
    expect(valueAt(space, BASE + 25 * PAGE_SIZE)).toBe(26);
    expect(space.mincore(BASE + 24 * PAGE_SIZE, 2 * PAGE_SIZE)).toEqual(new Uint8Array([0, 1]));
    expectFile(space, BASE, NONE);
    assertTablesTrue(machine);
  });

  it('is one frame for all mappings and mms', () => {
    const { machine, space, id } = placedFile();
    const other = machine.createAddressSpace();
    map(other, OTHER, id);
    map(space, OTHER, id, true);
    const child = space.fork();
    valueAt(space, BASE);
    valueAt(child, BASE);
    const pfns = [readPte(space, BASE), readPte(child, BASE)].map(({ pfn }) => pfn);
    expect(new Set(pfns).size).toBe(1);
    expect(valueAt(space, OTHER)).toBe(1);
    expect(readPte(space, OTHER).pfn).toBe(pfns[0]);
    expect(machine.parts.files.cachePages(id)).toBe(1);
    other.write(OTHER + 3 * PAGE_SIZE, pageOf(99));
    const written = new Map([[3, 99]]);
    for (const each of [space, child]) expectFile(each, BASE, written);
    expectFile(child, OTHER, written);
    child.write(OTHER + 4 * PAGE_SIZE, pageOf(98)); // private
    expectFile(space, BASE, written);
    expect(valueAt(child, OTHER + 4 * PAGE_SIZE)).toBe(98);
    child.madvise(OTHER + 4 * PAGE_SIZE, PAGE_SIZE, 'dontneed');
    expect(valueAt(child, OTHER + 4 * PAGE_SIZE)).toBe(5);
    assertTablesTrue(machine);
  });

  it('is faulted in by mlock and populate, moves with mremap, and needs no write-back', () => {
    const { machine, space } = placedFile();
    space.mlock(BASE, 3 * PAGE_SIZE);
    expect(space.mincore(BASE, 4 * PAGE_SIZE)).toEqual(new Uint8Array([1, 1, 1, 0]));
    space.madvise(BASE + 3 * PAGE_SIZE, PAGE_SIZE, 'populate_write');
    space.msync(BASE, PAGES * PAGE_SIZE, ['sync']);
    space.munlock(BASE, 3 * PAGE_SIZE);
    const length = PAGES * PAGE_SIZE;
    space.mremap(BASE, length, length, ['maymove', 'fixed'], OTHER);
    expectFile(space, OTHER, NONE);
    assertTablesTrue(machine);
  });

  it('that cannot be read is SIGBUS, which says why; beyond the end of the file as ever', () => {
    const { machine, space, file, id } = placedFile();
    valueAt(space, BASE);
    file.release();
    const before = freeFrames(machine);
    const read = (): unknown => valueAt(space, BASE + PAGE_SIZE);
    expect(codeOf(read)).toBe('SIGBUS');
    expect(read).toThrow(/memfd:placed cannot be read: process 4000000: .*0x15000.*released/);
    expect(freeFrames(machine)).toBe(before);
    expect(valueAt(space, BASE)).toBe(1);
    const flags = ['shared', 'fixed'] as const;
    const offset = (PAGES - 1) * PAGE_SIZE;
    const length = 2 * PAGE_SIZE;
    space.mmap({ address: OTHER, length, prot: 'rw', flags, file: id, offset });
    expect(() => valueAt(space, OTHER + PAGE_SIZE)).toThrow(/beyond the end/);
    assertTablesTrue(machine);
  });

  it('gives everything back with the last mapping of its file', () => {
    const { machine, space, file, id } = placedFile();
    const { free } = machine.store;
    expectFile(space, BASE, NONE);
    file.dropFile(id);
    space.munmap(BASE, PAGES * PAGE_SIZE);
    assertTablesTrue(machine);
    expect(machine.store.free).toBeGreaterThan(free);
  });
});

describe('reclaim of pages of a file that lie in a backing', () => {
  it('drops those that were not written, and no others', () => {
    const { machine, space, id } = placedFile();
    const child = space.fork();
    expectFile(space, BASE, NONE);
    expectFile(child, BASE, NONE);
    child.write(BASE + 2 * PAGE_SIZE, pageOf(77));
    space.write(BASE + 12 * PAGE_SIZE, pageOf(78)); // was zeros, and lies nowhere else
    const before = machine.parts.files.cachePages(id);
    machine.reclaim(machine.memory.total);
    assertTablesTrue(machine);
    // What lies nowhere else stays: pages 10 to 19, and the one that was written.
    expect(before).toBe(PAGES);
    expect(machine.parts.files.cachePages(id)).toBe(11);
    const written = new Map([
      [2, 77],
      [12, 78],
    ]);
    for (const each of [space, child]) expectFile(each, BASE, written);
  });

  it('drops none when the backing was released', () => {
    const { machine, space, file, id } = placedFile();
    expectFile(space, BASE, NONE);
    file.release();
    machine.reclaim(machine.memory.total);
    expect(machine.parts.files.cachePages(id)).toBe(PAGES);
    expectFile(space, BASE, NONE);
  });

  it.each([0, MiB])('lets a small machine work through a large file: swap %i', (swap) => {
    const pages = 1000;
    const machine = testMachine({ memory: 2 * MiB, swap });
    const space = machine.createAddressSpace();
    const content = new Uint8Array(pages * PAGE_SIZE);
    for (let page = 0; page < pages; page++) {
      content.fill((page % 250) + 1, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    }
    const file = new BackingFile(machine, content);
    files.push(file);
    const id = file.createFile(pages, [{ index: 0, pages, place: 0 }]);
    const flags = ['shared', 'fixed'] as const;
    space.mmap({ address: BASE, length: pages * PAGE_SIZE, prot: 'rw', flags, file: id });
    const child = space.fork();
    for (let round = 0; round < 2; round++) {
      for (let page = 0; page < pages; page++) {
        const at = BASE + page * PAGE_SIZE;
        expect(valueAt(page % 2 === 0 ? space : child, at)).toBe((page % 250) + 1);
        if (page % 20 === 0) child.write(at, pageOf((page % 250) + 1));
      }
      assertTablesTrue(machine);
    }
  });
});
