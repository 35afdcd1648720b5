/** Reclaim of pages that were loaded from a backing: they go back to it. */
import { afterEach, describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { readPageStruct, readPte } from '../../../src/mmu/machine/debug.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import type { MachineOptions } from '../../../src/mmu/mm/create-machine.ts';
import { isBacked, isMerged, placeOf } from '../../../src/mmu/tables/pte.ts';
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
const ANON = ['private', 'anonymous', 'fixed'] as const;
const files: BackingFile[] = [];

afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

/** Byte that fills page `page` of the backing; no page is all zeros. */
function fillOf(page: number): number {
  return (page % 251) + 1;
}

interface Backed {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly file: BackingFile;
}

function backedSpace(
  pages: number,
  options: Partial<MachineOptions> = {},
  isMerged = false,
): Backed {
  const machine = testMachine(options);
  const space = machine.createAddressSpace();
  space.mmap({ address: BASE, length: pages * PAGE_SIZE, prot: 'rw', flags: ANON });
  const content = new Uint8Array(pages * PAGE_SIZE);
  for (let page = 0; page < pages; page++) {
    content.fill(fillOf(page), page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  const file = new BackingFile(machine, content);
  files.push(file);
  file.map(space, BASE, pages, 0, isMerged);
  return { machine, space, file };
}

function at(page: number): number {
  return BASE + page * PAGE_SIZE;
}

/** The place that the entry of a page names, or -1 if the entry is not a backed one. */
function placeAt(space: AddressSpace, page: number): number {
  const { low, high } = readPte(space, at(page));
  return isBacked(low) ? placeOf(low, high) : -1;
}

function valueAt(space: AddressSpace, page: number): number {
  const bytes = readBytes(space, at(page), PAGE_SIZE);
  expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
  return bytes[0]!;
}

/** Reclaims what can be reclaimed. */
function reclaimAll(machine: Machine): void {
  machine.reclaim(machine.memory.total);
  assertTablesTrue(machine);
}

describe('reclaim of a page that was loaded from a backing', () => {
  it('puts the backed entry back, without swap', () => {
    const { machine, space } = backedSpace(8);
    const before = freeFrames(machine);
    for (let page = 0; page < 8; page++) expect(valueAt(space, page)).toBe(fillOf(page));
    expect(freeFrames(machine)).toBe(before - 8);
    expect(placeAt(space, 3)).toBe(-1);
    reclaimAll(machine);
    expect(freeFrames(machine)).toBe(before);
    for (let page = 0; page < 8; page++) expect(placeAt(space, page)).toBe(page);
    expect(valueAt(space, 5)).toBe(fillOf(5));
  });

  it('takes no swap slot where there is swap', () => {
    const { machine, space } = backedSpace(8, { swap: MiB });
    for (let page = 0; page < 8; page++) valueAt(space, page);
    space.madvise(BASE, 8 * PAGE_SIZE, 'pageout');
    expect(machine.swap.free).toBe(machine.swap.total);
    for (let page = 0; page < 8; page++) expect(placeAt(space, page)).toBe(page);
  });

  it('puts back as many as are wanted', () => {
    const { machine, space } = backedSpace(40);
    for (let page = 0; page < 40; page++) valueAt(space, page);
    const before = freeFrames(machine);
    machine.reclaim(10 * PAGE_SIZE);
    expect(freeFrames(machine)).toBe(before + 10);
  });

  it.each([
    ['before it was read', false],
    ['after it was read', true],
  ])('never drops what was written: %s', (_when, isRead) => {
    const { machine, space } = backedSpace(2);
    if (isRead) valueAt(space, 0);
    space.write(at(0) + 7, new Uint8Array([255]));
    reclaimAll(machine);
    expect(placeAt(space, 0)).toBe(-1);
    expect(readBytes(space, at(0) + 6, 3)).toEqual(new Uint8Array([1, 255, 1]));
  });

  it('sends a written page to swap, and it does not go back to the backing from there', () => {
    const { machine, space } = backedSpace(2, { swap: MiB });
    valueAt(space, 0);
    space.write(at(0), pageOf(77));
    reclaimAll(machine);
    expect(machine.swap.free).toBe(machine.swap.total - PAGE_SIZE);
    expect(valueAt(space, 0)).toBe(77);
    reclaimAll(machine);
    expect(valueAt(space, 0)).toBe(77);
  });

  it('puts back the entries of all mms that show the frame', () => {
    const { machine, space } = backedSpace(4);
    const before = freeFrames(machine);
    for (let page = 0; page < 4; page++) valueAt(space, page);
    const child = space.fork();
    const grandchild = child.fork();
    child.write(at(1), pageOf(50));
    child.munmap(at(2), PAGE_SIZE);
    grandchild.mprotect(at(3), PAGE_SIZE, 'r');
    reclaimAll(machine);
    for (const page of [0, 1, 2, 3]) expect(placeAt(space, page)).toBe(page);
    expect([0, 1, 3].map((page) => placeAt(child, page))).toEqual([0, -1, 3]);
    for (const page of [0, 1, 2, 3]) expect(placeAt(grandchild, page)).toBe(page);
    expect(valueAt(child, 1)).toBe(50);
    expect(valueAt(grandchild, 1)).toBe(fillOf(1));
    for (const each of [child, grandchild]) each.exit();
    reclaimAll(machine);
    expect(freeFrames(machine)).toBe(before);
  });

  it('puts a page back where mremap has moved it', () => {
    const { machine, space } = backedSpace(4);
    for (let page = 0; page < 4; page++) valueAt(space, page);
    const to = BASE + 0x100_0000;
    space.mremap(BASE, 4 * PAGE_SIZE, 4 * PAGE_SIZE, ['maymove', 'fixed'], to);
    reclaimAll(machine);
    expect(readBytes(space, to + 2 * PAGE_SIZE, 1)).toEqual(new Uint8Array([fillOf(2)]));
  });

  it('leaves a locked page alone', () => {
    const { machine, space } = backedSpace(4);
    space.mlock(BASE, 2 * PAGE_SIZE);
    for (let page = 0; page < 4; page++) valueAt(space, page);
    reclaimAll(machine);
    expect([0, 1, 2, 3].map((page) => placeAt(space, page))).toEqual([-1, -1, 2, 3]);
  });

  it('leaves a page alone whose backing was released, so that it is not lost', () => {
    const { machine, space, file } = backedSpace(4);
    valueAt(space, 0);
    file.release();
    reclaimAll(machine);
    expect(valueAt(space, 0)).toBe(fillOf(0));
    expect(codeOf(() => valueAt(space, 1))).toBe('SIGBUS');
  });

  it('may drop a page that MADV_FREE has marked, but loses none that was written since', () => {
    const { machine, space } = backedSpace(4);
    for (let page = 0; page < 4; page++) valueAt(space, page);
    space.madvise(BASE, 2 * PAGE_SIZE, 'free');
    space.write(at(1), pageOf(9));
    reclaimAll(machine);
    expect(valueAt(space, 0)).toBe(0);
    expect(valueAt(space, 1)).toBe(9);
    expect(valueAt(space, 2)).toBe(fillOf(2));
  });

  it.each([0, 2 * MiB])('lets a small machine work through many pages: swap %i', (swap) => {
    const pages = 1200;
    const { machine, space } = backedSpace(pages, { memory: 2 * MiB, swap });
    const child = space.fork();
    for (let round = 0; round < 2; round++) {
      for (let page = 0; page < pages; page++) {
        expect(valueAt(page % 3 === 0 ? child : space, page)).toBe(fillOf(page));
      }
      assertTablesTrue(machine);
    }
    for (let page = 0; page < 100; page++) space.write(at(page * 7), pageOf(0));
    for (let page = 0; page < pages; page++) {
      const isWritten = page < 700 && page % 7 === 0;
      expect(valueAt(space, page)).toBe(isWritten ? 0 : fillOf(page));
      expect(valueAt(child, page)).toBe(fillOf(page));
    }
    assertTablesTrue(machine);
  });
});

describe('a backed page that KSM has merged', () => {
  it('is loaded as a merged page, and copied when it is written', () => {
    const { machine, space } = backedSpace(4, {}, true);
    valueAt(space, 0);
    const { pfn } = readPte(space, at(0));
    expect(readPageStruct(machine, pfn).flags).toContain('ksm');
    space.write(at(0), pageOf(3));
    space.write(at(1), pageOf(4));
    for (const page of [0, 1]) {
      const entry = readPte(space, at(page));
      expect(readPageStruct(machine, entry.pfn).flags).not.toContain('ksm');
    }
    expect([0, 1, 2].map((page) => valueAt(space, page))).toEqual([3, 4, fillOf(2)]);
    assertTablesTrue(machine);
  });

  it('stays merged when it is put back, until MADV_UNMERGEABLE', () => {
    const { machine, space } = backedSpace(4, {}, true);
    valueAt(space, 0);
    reclaimAll(machine);
    expect([0, 1].map((page) => isMerged(readPte(space, at(page)).low))).toEqual([true, true]);
    space.madvise(BASE, 4 * PAGE_SIZE, 'mergeable');
    space.madvise(BASE, 4 * PAGE_SIZE, 'unmergeable');
    expect([0, 1].map((page) => isMerged(readPte(space, at(page)).low))).toEqual([false, false]);
    expect(placeAt(space, 1)).toBe(1);
    expect(valueAt(space, 0)).toBe(fillOf(0));
  });

  it('is what a page becomes that was merged in the machine after it was loaded', () => {
    const { machine, space } = backedSpace(2);
    const twin = at(600);
    space.mmap({ address: twin, length: PAGE_SIZE, prot: 'rw', flags: ANON });
    space.write(twin, pageOf(fillOf(0)));
    valueAt(space, 0);
    space.madvise(BASE, 2 * PAGE_SIZE, 'mergeable');
    space.madvise(twin, PAGE_SIZE, 'mergeable');
    machine.mergePages();
    reclaimAll(machine);
    expect(isMerged(readPte(space, at(0)).low)).toBe(true);
    expect(valueAt(space, 0)).toBe(fillOf(0));
    space.write(twin, pageOf(5));
    expect(valueAt(space, 0)).toBe(fillOf(0));
    expect(readBytes(space, twin, 1)).toEqual(new Uint8Array([5]));
    assertTablesTrue(machine);
  });
});
