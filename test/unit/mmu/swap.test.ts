/** Swap: slots, pages that go out and come back, memory pressure. */
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { SwapArea, swapMapBytes } from '../../../src/mmu/swap/swap-area.ts';
import { GRANULE_SIZE, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { assertTablesTrue, leaves } from '../../support/machine/invariants.ts';
import { testLocks } from '../../support/machine/locks.ts';
import { codeOf, pageOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const ANON = ['private', 'anonymous', 'fixed'] as const;
const BASE = 0x4000_0000;

function mapPages(space: AddressSpace, pages: number, address = BASE): void {
  space.mmap({ address, length: pages * PAGE_SIZE, prot: 'rw', flags: ANON });
}

/** Returns the number of pages in swap. */
function swappedPages(machine: ReturnType<typeof testMachine>): number {
  const { total, free } = machine.swap;
  return (total - free) / PAGE_SIZE;
}

describe('the swap area', () => {
  const { table, gate, ids } = testLocks(1);
  const thread = ids[0]!;
  gate.tryEnter(thread);
  const area = (slots: number): SwapArea => {
    const swap = new SwapArea(new SharedArrayBuffer(swapMapBytes(slots)), 0x80000, table);
    swap.initialise();
    return swap;
  };

  it('hands out every slot once, and none beyond', () => {
    const swap = area(5);
    const slots = Array.from({ length: 6 }, () => swap.allocate(thread));
    expect(new Set(slots)).toEqual(new Set([0, 1, 2, 3, 4, -1]));
    expect(swap.free).toBe(0);
    swap.get(3, thread);
    swap.put(3, thread);
    expect(swap.allocate(thread)).toBe(-1);
    swap.put(3, thread);
    expect(swap.free).toBe(1);
    expect(swap.allocate(thread)).toBe(3);
  });

  it('knows its entries, in any bank, and no others', () => {
    const swap = area(0x80000 + 10);
    const all = Array.from({ length: 0x80000 + 3 }, () => swap.allocate(thread));
    for (const slot of [0, 1, 0x7ffff, 0x80000, 0x80002]) {
      expect(all).toContain(slot);
      expect(swap.slotOf(swap.lowOf(slot), swap.highOf(slot))).toBe(slot);
      expect(swap.lowOf(slot) & 0x101).toBe(0); // never mistaken for a present entry
    }
    const unused = 0x80005;
    expect(swap.slotOf(swap.lowOf(unused), swap.highOf(unused))).toBe(-1);
    expect(swap.slotOf(swap.lowOf(1) | 0x200, swap.highOf(1))).toBe(-1);
    expect(swap.slotOf(swap.lowOf(1), swap.highOf(1) | 1)).toBe(-1);
    expect(swap.slotOf(0x2000, (31 << 27) | 0)).toBe(-1); // a marker
  });
});

describe('pages in swap', () => {
  it('come back with their bytes, at a read and at a write', () => {
    const machine = testMachine({ swap: MiB });
    const space = machine.createAddressSpace();
    mapPages(space, 4);
    for (let page = 0; page < 3; page++) space.write(BASE + page * PAGE_SIZE, pageOf(page + 1));
    space.madvise(BASE, 4 * PAGE_SIZE, 'pageout');
    expect(swappedPages(machine)).toBe(3);
    expect([...space.mincore(BASE, 4 * PAGE_SIZE)]).toEqual([0, 0, 0, 0]);
    expect(readBytes(space, BASE, PAGE_SIZE)).toEqual(pageOf(1));
    space.write(BASE + PAGE_SIZE, new Uint8Array([9]));
    expect(readBytes(space, BASE + PAGE_SIZE, 2)).toEqual(new Uint8Array([9, 2]));
    expect(swappedPages(machine)).toBe(1);
    assertTablesTrue(machine);
    space.munmap(BASE, 4 * PAGE_SIZE);
    expect(swappedPages(machine)).toBe(0);
  });

  it('are shared by a fork until somebody brings them back', () => {
    const machine = testMachine({ swap: MiB });
    const parent = machine.createAddressSpace();
    mapPages(parent, 1);
    parent.write(BASE, pageOf(5));
    parent.madvise(BASE, PAGE_SIZE, 'pageout');
    const child = parent.fork();
    expect(swappedPages(machine)).toBe(1);
    child.write(BASE, pageOf(6));
    expect(readBytes(parent, BASE, 1)).toEqual(new Uint8Array([5]));
    expect(readBytes(child, BASE, 1)).toEqual(new Uint8Array([6]));
    expect(swappedPages(machine)).toBe(0);
    assertTablesTrue(machine);
  });

  it('leave locked pages, shared pages and pages that a fork shares where they are', () => {
    const machine = testMachine({ swap: MiB });
    const space = machine.createAddressSpace();
    mapPages(space, 2);
    space.write(BASE, pageOf(1));
    space.mlock(BASE + PAGE_SIZE, PAGE_SIZE);
    const shared = space.mmap({ length: PAGE_SIZE, prot: 'rw', flags: ['shared', 'anonymous'] });
    space.write(shared, pageOf(2));
    const child = space.fork();
    machine.reclaim(MiB);
    expect(swappedPages(machine)).toBe(0);
    child.exit();
    machine.reclaim(MiB);
    expect(swappedPages(machine)).toBe(1); // the only page that is neither locked nor shared
    expect(readBytes(space, BASE, 1)).toEqual(new Uint8Array([1]));
  });

  it('are 512 at once for a huge page, whose first frame becomes the table', () => {
    const machine = testMachine({ memory: 8 * MiB, swap: 4 * MiB });
    const space = machine.createAddressSpace();
    mapPages(space, 512);
    space.madvise(BASE, GRANULE_SIZE, 'hugepage');
    for (let page = 0; page < 512; page++)
      space.fill(BASE + page * PAGE_SIZE, PAGE_SIZE, page & 0xff);
    expect(leaves(machine, space)[0]!.low & 0x80).toBe(0x80);
    const { free } = machine.memory;
    space.madvise(BASE, GRANULE_SIZE, 'pageout');
    expect(swappedPages(machine)).toBe(512);
    expect(machine.memory.free).toBe(free + 511 * PAGE_SIZE);
    assertTablesTrue(machine);
    for (const page of [0, 1, 255, 511]) {
      const [byte] = readBytes(space, BASE + page * PAGE_SIZE, 1);
      expect(byte).toBe(page & 0xff);
    }
    assertTablesTrue(machine);
  });
});

describe('memory pressure', () => {
  it('lets an mm be larger than memory, as far as swap goes', () => {
    const machine = testMachine({ memory: MiB, swap: 2 * MiB });
    const space = machine.createAddressSpace();
    mapPages(space, 600);
    for (let page = 0; page < 600; page++) space.fill(BASE + page * PAGE_SIZE, 8, page % 251);
    for (let page = 0; page < 600; page++) {
      expect(readBytes(space, BASE + page * PAGE_SIZE, 1)[0]).toBe(page % 251);
    }
    assertTablesTrue(machine);
    mapPages(space, 600, 2 * BASE);
    const outcome = codeOf(() => space.fill(2 * BASE, 600 * PAGE_SIZE, 7));
    expect(outcome).toBe('ENOMEM');
    assertTablesTrue(machine);
  });

  it('drops clean pages of files before anything goes to swap', () => {
    const machine = testMachine({ memory: MiB, swap: MiB, store: 2 * MiB });
    const content = new Uint8Array(100 * PAGE_SIZE).fill(3);
    const file = machine.createFile({ path: '/f', content });
    const space = machine.createAddressSpace();
    const mapped = space.mmap({
      length: content.length,
      prot: 'r',
      flags: ['shared'],
      file: file.id,
    });
    for (let page = 0; page < 100; page++) readBytes(space, mapped + page * PAGE_SIZE, 1);
    space.munmap(mapped, content.length);
    mapPages(space, 200);
    space.fill(BASE, 200 * PAGE_SIZE, 1);
    expect(swappedPages(machine)).toBe(0);
    assertTablesTrue(machine);
  });

  it('drops pages of MADV_FREE that nobody wrote since, and keeps the others', () => {
    const machine = testMachine({ memory: MiB, swap: MiB });
    const space = machine.createAddressSpace();
    mapPages(space, 2);
    space.fill(BASE, 2 * PAGE_SIZE, 4);
    space.madvise(BASE, 2 * PAGE_SIZE, 'free');
    space.write(BASE, new Uint8Array([5]));
    machine.reclaim(MiB);
    expect(swappedPages(machine)).toBe(1);
    expect(readBytes(space, BASE, 2)).toEqual(new Uint8Array([5, 4]));
    expect(readBytes(space, BASE + PAGE_SIZE, 1)).toEqual(new Uint8Array([0]));
  });

  it('writes dirty pages of simulated files back before they go', () => {
    const machine = testMachine({ memory: MiB, store: MiB });
    const content = new Uint8Array(3 * PAGE_SIZE - 96).fill(1);
    const file = machine.createFile({ path: '/f', content });
    const space = machine.createAddressSpace();
    const request = { length: 3 * PAGE_SIZE, prot: 'rw', file: file.id } as const;
    const mapped = space.mmap({ ...request, flags: ['shared'] });
    space.write(mapped + 2 * PAGE_SIZE + 10, new Uint8Array([77]));
    machine.reclaim(MiB);
    expect(machine.parts.files.cachePages(file.id)).toBe(0);
    expect(readBytes(space, mapped + 2 * PAGE_SIZE + 9, 3)).toEqual(new Uint8Array([1, 77, 1]));
    space.write(mapped, new Uint8Array([5])); // dirty again after it was cleaned
    space.msync(mapped, 3 * PAGE_SIZE);
    space.write(mapped, new Uint8Array([6]));
    machine.reclaim(MiB);
    expect(readBytes(space, mapped, 1)).toEqual(new Uint8Array([6]));
  });
});

describe('without swap and without room', () => {
  it('fork takes everything back', () => {
    const machine = testMachine({ memory: MiB });
    const parent = machine.createAddressSpace();
    for (let granule = 0; granule < 60; granule++) {
      mapPages(parent, 1, BASE + granule * GRANULE_SIZE); // one table each
      parent.fill(BASE + granule * GRANULE_SIZE, 1, granule);
    }
    mapPages(parent, 90, BASE - 90 * PAGE_SIZE);
    parent.fill(BASE - 90 * PAGE_SIZE, 90 * PAGE_SIZE, 1);
    const { free } = machine.memory;
    expect(codeOf(() => parent.fork())).toBe('ENOMEM');
    expect(machine.memory.free).toBe(free);
    assertTablesTrue(machine);
    parent.fill(BASE, 1, 9); // no page stays shared
    expect(machine.memory.free).toBe(free);
  });

  it('mremap leaves the mapping where it was', () => {
    const machine = testMachine({ memory: MiB });
    const space = machine.createAddressSpace();
    const pages = 512 * 40;
    space.mmap({ address: BASE, length: pages * PAGE_SIZE, prot: 'rw', flags: ANON });
    for (let granule = 0; granule < 40; granule++) {
      for (let page = 0; page < 4; page++) {
        space.fill(BASE + granule * GRANULE_SIZE + page * PAGE_SIZE, 1, granule + 1);
      }
    }
    mapPages(space, 30, 2 ** 40);
    expect(codeOf(() => space.fill(2 ** 40, 30 * PAGE_SIZE, 1))).toBe('nothing');
    const flags = ['maymove', 'fixed'] as const;
    const length = pages * PAGE_SIZE;
    expect(codeOf(() => space.mremap(BASE, length, length, flags, 2 ** 41))).toBe('ENOMEM');
    assertTablesTrue(machine);
    expect(space.vmas().map(({ start }) => start)).toEqual([BASE, 2 ** 40]);
    for (let granule = 0; granule < 40; granule++) {
      expect(readBytes(space, BASE + granule * GRANULE_SIZE, 1)[0]).toBe(granule + 1);
    }
  });
});

describe('a call that runs out of frames half-way', () => {
  const PAGES = 300; // more than the machine has frames

  it('mmap with populate maps once, and keeps what it could get', () => {
    const machine = testMachine({ memory: MiB, swap: 4 * MiB });
    const space = machine.createAddressSpace();
    const flags = ['private', 'anonymous', 'populate'] as const;
    space.mmap({ length: PAGES * PAGE_SIZE, prot: 'rw', flags });
    expect(space.vmas()).toHaveLength(1);
    expect(space.vmas()[0]!.end - space.vmas()[0]!.start).toBe(PAGES * PAGE_SIZE);
    assertTablesTrue(machine);
  });

  it('madvise populates more than there is memory, one page after the other', () => {
    const machine = testMachine({ memory: MiB, swap: 4 * MiB });
    const space = machine.createAddressSpace();
    mapPages(space, PAGES);
    space.madvise(BASE, PAGES * PAGE_SIZE, 'populate_write');
    const resident = space.mincore(BASE, PAGES * PAGE_SIZE).reduce((sum, byte) => sum + byte, 0);
    expect(resident + swappedPages(machine)).toBe(PAGES);
    assertTablesTrue(machine);
  });

  it('brk and mremap of locked memory do what they say, once', () => {
    const machine = testMachine({ memory: MiB, swap: 4 * MiB });
    const space = machine.createAddressSpace();
    mapPages(space, 200, BASE + 2 * GRANULE_SIZE);
    space.fill(BASE + 2 * GRANULE_SIZE, 200 * PAGE_SIZE, 1); // pages that can go to swap
    space.mlockall(['future']);
    const heap = space.brk(0);
    expect(space.brk(heap + 100 * PAGE_SIZE)).toBe(heap + 100 * PAGE_SIZE);
    mapPages(space, 1);
    expect(space.mremap(BASE, PAGE_SIZE, 100 * PAGE_SIZE)).toBe(BASE);
    expect(space.vmas().map(({ start, end }) => (end - start) / PAGE_SIZE)).toEqual([
      100, 200, 100,
    ]);
    assertTablesTrue(machine);
  });

  it('mremap of several mappings goes on where memory ran out', () => {
    const machine = testMachine({ memory: MiB, swap: 4 * MiB });
    const space = machine.createAddressSpace();
    for (let granule = 0; granule < 8; granule++) {
      mapPages(space, 1, BASE + granule * GRANULE_SIZE);
      space.fill(BASE + granule * GRANULE_SIZE, PAGE_SIZE, granule + 1);
    }
    mapPages(space, 400, 2 ** 40);
    space.fill(2 ** 40, 400 * PAGE_SIZE, 9); // leaves no frame for tables
    const length = 8 * GRANULE_SIZE;
    expect(space.mremap(BASE, length, length, ['maymove', 'fixed'], 2 ** 41)).toBe(2 ** 41);
    for (let granule = 0; granule < 8; granule++) {
      const [byte] = readBytes(space, 2 ** 41 + granule * GRANULE_SIZE, 1);
      expect(byte).toBe(granule + 1);
    }
    assertTablesTrue(machine);
  });
});
