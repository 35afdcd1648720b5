/**
 * Invariants checked: a store by a translation that was made before dirty pages were taken is listed
 * by the next take · such a store after a snapshot does not reach the snapshot · a load by such a
 * translation after a rewind finds the old bytes · a snapshot that is taken in the middle of `inside`
 * waits for nobody
 */
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { readPte } from '../../../src/mmu/machine/debug.ts';
import { createTlb, type Tlb } from '../../../src/mmu/machine/tlb.ts';
import { PTE, WRITTEN } from '../../../src/mmu/tables/pte.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { readBytes, testMachine } from '../../support/machine/machine.ts';

const BASE = 0x4000_0000;
const PAGES = 8;
const at = (page: number): number => BASE + page * PAGE_SIZE;

/** How a test stores and loads one word: by a TLB, or by small accesses of the address space. */
interface Way {
  store(address: number, value: number): void;
  load(address: number): number;
}

function byTlb(tlb: Tlb): Way {
  return {
    store: (address, value) => tlb.store32(address, value),
    load: (address) => tlb.load32(address),
  };
}

function bySmallAccess(mm: AddressSpace): Way {
  const word = new Int32Array(1);
  const bytes = new Uint8Array(word.buffer);
  return {
    store: (address, value) => {
      word[0] = value;
      mm.write(address, bytes);
    },
    load: (address) => {
      mm.read(address, bytes);
      return word[0]!;
    },
  };
}

function fixture(isHuge = false) {
  const machine = testMachine({ memory: 16 * MiB, maxAddressSpaces: 8 });
  const mm = machine.createAddressSpace();
  const length = isHuge ? 2 * MiB : PAGES * PAGE_SIZE;
  mm.mmap({ length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'], address: BASE });
  if (isHuge) mm.madvise(BASE, length, 'hugepage');
  mm.fill(BASE, length, 0);
  return { machine, mm };
}

/** The word by an operation: an access of more than 64 bytes uses no translation. */
function wordAt(mm: AddressSpace, address: number): number {
  return new DataView(readBytes(mm, address, PAGE_SIZE).buffer).getInt32(0, true);
}

const WAYS: readonly (readonly [string, (mm: AddressSpace) => Way])[] = [
  ['a TLB', (mm) => byTlb(createTlb(mm))],
  ['small accesses', bySmallAccess],
];

describe.each(WAYS)('translations kept by %s', (_name, wayOf) => {
  it.each([false, true])('are made anew before a store to a clean page; 2 MiB: %s', (isHuge) => {
    const { mm } = fixture(isHuge);
    const way = wayOf(mm);
    const listed = isHuge ? [{ start: BASE, end: BASE + 2 * MiB }] : [{ start: at(3), end: at(4) }];
    mm.inside(() => {
      way.store(at(3), 1);
      mm.dirty.take();
      way.store(at(3), 2);
      expect(mm.dirty.take()).toEqual(listed);
      expect(way.load(at(3))).toBe(2); // a load alone makes nothing dirty, nor a store possible
      expect(mm.dirty.take()).toEqual([]);
      expect(way.load(at(3))).toBe(2);
      way.store(at(3), 3);
      expect(mm.dirty.take()).toEqual(listed);
    });
  });

  it.each([false, true])('do not reach what a snapshot keeps; 2 MiB: %s', (isHuge) => {
    const { machine, mm } = fixture(isHuge);
    const way = wayOf(mm);
    mm.inside(() => {
      way.store(at(2), 1);
      expect(way.load(at(4))).toBe(0);
      const snapshot = machine.snapshot();
      expect(way.load(at(2))).toBe(1); // the table is shared now: this must allow no store
      way.store(at(2), 2);
      way.store(at(4), 2);
      expect(wordAt(mm, at(2))).toBe(2);
      snapshot.rewind();
      expect(way.load(at(2))).toBe(1);
      expect(way.load(at(4))).toBe(0);
      way.store(at(2), 3);
      snapshot.rewind();
      expect(way.load(at(2))).toBe(1);
      snapshot.drop();
      way.store(at(2), 4);
      expect(wordAt(mm, at(2))).toBe(4);
    });
    assertTablesTrue(machine);
  });

  it('find what a rewind has mapped, unmapped and protected again', () => {
    const { machine, mm } = fixture();
    const way = wayOf(mm);
    way.store(at(1), 7);
    const snapshot = machine.snapshot();
    mm.inside(() => {
      mm.munmap(at(1), PAGE_SIZE);
      mm.mmap({
        length: PAGE_SIZE,
        prot: 'rw',
        flags: ['private', 'anonymous', 'fixed'],
        address: at(1),
      });
      way.store(at(1), 8);
      mm.mmap({ length: PAGE_SIZE, prot: 'rw', flags: ['private', 'anonymous'], address: at(20) });
      way.store(at(20), 9);
      snapshot.rewind();
      expect(way.load(at(1))).toBe(7);
      expect(() => way.load(at(20))).toThrow(/SIGSEGV|no mapping/);
    });
    assertTablesTrue(machine);
  });

  it('are those of every thread: an attached one finds them gone, too', () => {
    const { machine, mm } = fixture();
    const other = attach(mm.handle);
    const [mine, theirs] = [wayOf(mm), wayOf(other)];
    mine.store(at(0), 1);
    theirs.store(at(0), 2);
    const snapshot = machine.snapshot();
    theirs.store(at(0), 3);
    snapshot.rewind();
    expect(mine.load(at(0))).toBe(2);
    expect(theirs.load(at(0))).toBe(2);
    mine.store(at(0), 4);
    expect(theirs.load(at(0))).toBe(4);
    assertTablesTrue(machine);
  });
});

describe('translations of an address space that a snapshot keeps', () => {
  it('are for a store only if the leaf is writable, dirty and soft-dirty, in a table of its own', () => {
    const { machine, mm } = fixture();
    const tlb = createTlb(mm);
    tlb.store32(at(0), 1);
    mm.dirty.start();
    expect(readPte(mm, at(0)).low & (PTE.WRITE | WRITTEN)).toBe(PTE.WRITE | PTE.DIRTY);
    mm.inside(() => {
      const { epoch } = mm.translate(at(0), 'write');
      expect(mm.epoch()).toBe(epoch);
      expect(readPte(mm, at(0)).low & WRITTEN).toBe(WRITTEN);
    });
    machine.snapshot();
    mm.inside(() => {
      mm.translate(at(0), 'read');
      mm.translate(at(0), 'write');
    });
    const { low } = readPte(mm, at(0));
    expect(low & (PTE.WRITE | WRITTEN)).toBe(PTE.WRITE | WRITTEN);
    assertTablesTrue(machine);
  });

  it('end for all address spaces of a snapshot', () => {
    const { machine, mm } = fixture();
    const child = mm.fork();
    const [a, b] = [createTlb(mm), createTlb(child)];
    a.store32(at(0), 1);
    b.store32(at(0), 2);
    const snapshot = machine.snapshot();
    a.store32(at(0), 3);
    b.store32(at(0), 4);
    snapshot.rewind();
    expect([a.load32(at(0)), b.load32(at(0))]).toEqual([1, 2]);
    assertTablesTrue(machine);
  });
});
