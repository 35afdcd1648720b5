/**
 * Invariants checked: pages of a backing, loaded or not, are what they were after a rewind, and go
 * back to the backing as before · soft-dirty bits of backed entries are neither lost nor confused
 * with the name of the page · a snapshot has the pages that it had, whatever is loaded or reclaimed
 */
import { afterEach, describe, expect, it } from 'vitest';
import { neighbours } from '../../../src/mmu/backing/load-backed.ts';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { readPte } from '../../../src/mmu/machine/debug.ts';
import { isBacked, NEXT_PLACE, PTE, placeOf } from '../../../src/mmu/tables/pte.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { identityOf } from '../../../src/workers/classify/backed-pages.ts';
import { BackingFile } from '../../support/machine/backed.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { freeFrames, readBytes, testMachine } from '../../support/machine/machine.ts';

const BASE = 0x4000_0000;
const PAGES = 8;
const at = (page: number): number => BASE + page * PAGE_SIZE;
const files: BackingFile[] = [];

afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

function backedSpace() {
  const machine = testMachine({ maxAddressSpaces: 8 });
  const space = machine.createAddressSpace();
  const length = PAGES * PAGE_SIZE;
  space.mmap({ address: BASE, length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'] });
  const content = new Uint8Array(length);
  for (let page = 0; page < PAGES; page++) content.fill(page + 1, page * PAGE_SIZE);
  const file = new BackingFile(machine, content);
  files.push(file);
  file.map(space, BASE, PAGES, 0, false);
  return { machine, space };
}

/** The place that the entry of a page names, or -1 if the entry is not a backed one. */
function placeAt(space: AddressSpace, page: number): number {
  const { low, high } = readPte(space, at(page));
  return isBacked(low) ? placeOf(low, high) : -1;
}

function valueAt(space: AddressSpace, page: number): number {
  return readBytes(space, at(page), PAGE_SIZE)[17]!;
}

function expectAll(space: AddressSpace): void {
  for (let page = 0; page < PAGES; page++) expect(valueAt(space, page)).toBe(page + 1);
}

/** The pages that were written since the last call. */
function dirtyOf(space: AddressSpace): number[] {
  return space.dirty.take().flatMap(({ start, end }) => {
    const pages = (end - start) / PAGE_SIZE;
    return Array.from({ length: pages }, (_, page) => (start - BASE) / PAGE_SIZE + page);
  });
}

describe('pages of a backing and snapshots', () => {
  it.each(['read', 'written', 'prefetched', 'dropped'])('go back: %s', async (how) => {
    const { machine, space } = backedSpace();
    expect(valueAt(space, 6)).toBe(7); // loaded before the snapshot, and never written
    const free = freeFrames(machine);
    const snapshot = machine.snapshot();
    if (how === 'read') expectAll(space);
    else if (how === 'written') space.fill(at(0), PAGES * PAGE_SIZE, 99);
    else if (how === 'prefetched') expect((await space.prefetch()).pages).toBe(PAGES - 1);
    else space.madvise(at(0), PAGES * PAGE_SIZE, 'dontneed');
    assertTablesTrue(machine);
    machine.reclaim(machine.memory.total);
    assertTablesTrue(machine);
    snapshot.rewind();
    assertTablesTrue(machine);
    expect(placeAt(space, 2)).toBe(2);
    expectAll(space);
    snapshot.rewind();
    expect(placeAt(space, 2)).toBe(2);
    snapshot.drop();
    expectAll(space);
    machine.reclaim(machine.memory.total);
    for (let page = 0; page < PAGES; page++) expect(placeAt(space, page)).toBe(page);
    expect(freeFrames(machine)).toBeGreaterThanOrEqual(free);
    assertTablesTrue(machine);
  });

  it('keep their soft-dirty bits when they are loaded, reclaimed and prefetched', async () => {
    const { machine, space } = backedSpace();
    space.dirty.start();
    space.dirty.mark(at(2), PAGE_SIZE);
    expect(valueAt(space, 2)).toBe(3);
    machine.reclaim(machine.memory.total);
    expect(placeAt(space, 2)).toBe(2);
    expect(readPte(space, at(2)).low & PTE.SWAP_SOFT_DIRTY).not.toBe(0);
    expect((await space.prefetch()).pages).toBe(PAGES); // one run, although one entry has the bit
    expectAll(space);
    expect(dirtyOf(space)).toEqual([2]);
    machine.reclaim(machine.memory.total);
    expect(dirtyOf(space)).toEqual([]);
  });

  it('have a name without the soft-dirty bit', () => {
    const low = PTE.BACKED | (5 * NEXT_PLACE);
    const high = -0x0800_0000;
    const soft = PTE.SWAP_SOFT_DIRTY;
    expect(identityOf(low | soft, high)).toBe(identityOf(low, high));
    expect(identityOf(low | PTE.MERGED, high)).not.toBe(identityOf(low, high));
    const words = Int32Array.of(
      low | soft,
      high,
      low + NEXT_PLACE,
      high,
      low + 2 * NEXT_PLACE,
      high,
    );
    expect(neighbours(words, 0, 3)).toBe(3);
    expect(neighbours(words, 2, 2)).toBe(2);
    words[4] = low + 3 * NEXT_PLACE;
    expect(neighbours(words, 0, 3)).toBe(2);
  });

  it('are marked as written by a rewind, and remember where they came from', () => {
    const { machine, space } = backedSpace();
    const snapshot = machine.snapshot();
    space.munmap(BASE, PAGES * PAGE_SIZE); // the whole table goes, and the snapshot's comes back
    snapshot.rewind();
    space.dirty.start();
    space.fill(at(1), 1, 9);
    snapshot.rewind();
    expect(dirtyOf(space)).toEqual([1]);
    expectAll(space);
    machine.reclaim(machine.memory.total);
    expect(placeAt(space, 3)).toBe(3);
    expectAll(space);
    assertTablesTrue(machine);
  });
});
