/**
 * Invariants checked: translations of memory that is not shared survive its growth, and no store is
 * lost by it · memory that was transferred is one clear error, in the thread that owns it and in
 * others, and never a load of other bytes · a backed page that reclaim puts back is loaded again by
 * the next access, and one that was stored to through a TLB keeps the store
 */
import { afterEach, describe, expect, it } from 'vitest';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { readPte } from '../../../src/mmu/machine/debug.ts';
import { createTlb, type Tlb } from '../../../src/mmu/machine/tlb.ts';
import { isBacked } from '../../../src/mmu/tables/pte.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { privateMemory } from '../../support/machine/adopted.ts';
import { BackingFile } from '../../support/machine/backed.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { codeOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const LENGTH = 0x20000;
const AT = 0x1000_0000;
const word = new Uint8Array(4);

type Access = readonly [name: string, store: (value: number) => void, load: () => number];

/** The ways to a word at AT; each is a hit from the second time on. */
function accesses(tlb: Tlb): Access[] {
  return [
    ['8', (value) => tlb.store8(AT, value), () => tlb.load8(AT)],
    ['16', (value) => tlb.store16(AT, value), () => tlb.load16(AT)],
    ['32', (value) => tlb.store32(AT, value), () => tlb.load32(AT)],
    ['32, not aligned', (value) => tlb.store32(AT + 1, value), () => tlb.load32(AT + 1)],
    ['64', (value) => tlb.store64(AT, BigInt(value)), () => Number(tlb.load64(AT))],
  ];
}

describe('memory that is not shared, through translations', () => {
  it.each([0, 1, 2, 3, 4])('is followed by a TLB as it grows: access %d', (access) => {
    const memory = privateMemory(2);
    const mm = testMachine({ banks: [memory] }).createAddressSpace();
    mm.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    const [, store, load] = accesses(createTlb(mm))[access]!;
    mm.inside(() => {
      for (let turn = 1; turn < 4; turn++) {
        store(turn);
        store(turn + 10);
        expect(load()).toBe(turn + 10);
        memory.grow(1);
        expect(load()).toBe(turn + 10);
        expect(load()).toBe(turn + 10);
        memory.grow(1);
        store(turn + 20);
        const there = new Uint8Array(memory.buffer, 0, 8);
        expect([...there].filter((byte) => byte !== 0)).toEqual([turn + 20]);
      }
    });
  });

  it('is followed by small reads and writes', () => {
    const memory = privateMemory(2);
    const mm = testMachine({ banks: [memory] }).createAddressSpace();
    mm.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    for (let turn = 1; turn < 4; turn++) {
      mm.write(AT, new Uint8Array([turn, 2, 3, 4]));
      memory.grow(1);
      mm.read(AT, word);
      expect([...word]).toEqual([turn, 2, 3, 4]);
      memory.grow(1);
      mm.write(AT, new Uint8Array([9, 8, 7, turn]));
      expect([...new Uint8Array(memory.buffer, 0, 4)]).toEqual([9, 8, 7, turn]);
    }
  });

  it('is one clear error once it was transferred, and is not taken for other memory', () => {
    const buffer = new ArrayBuffer(LENGTH);
    const machine = testMachine({ banks: [buffer] });
    const mm = machine.createAddressSpace();
    mm.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    const tlb = createTlb(mm);
    mm.inside(() => {
      for (let turn = 0; turn < 2; turn++) tlb.store32(AT, 7);
      structuredClone(buffer, { transfer: [buffer] });
      for (let turn = 0; turn < 2; turn++) {
        for (const [name, store, load] of accesses(tlb)) {
          expect([name, codeOf(load)]).toEqual([name, 'BANK_UNREACHABLE']);
          expect([name, codeOf(() => store(1))]).toEqual([name, 'BANK_UNREACHABLE']);
        }
        expect(codeOf(() => mm.read(AT, word))).toBe('BANK_UNREACHABLE');
        expect(codeOf(() => mm.translate(AT, 'read'))).toBe('BANK_UNREACHABLE');
      }
    });
    mm.munmap(AT, LENGTH); // no table is locked
    assertTablesTrue(machine);
  });

  it('is one clear error in another thread, each time and beside memory that it reaches', () => {
    const shared = new SharedArrayBuffer(LENGTH);
    const machine = testMachine({ banks: [shared, new ArrayBuffer(LENGTH)] });
    const mm = machine.createAddressSpace();
    mm.mapFrames({ bank: 0, length: LENGTH, prot: 'rw', address: AT + MiB }); // the same entry
    mm.mapFrames({ bank: 1, length: LENGTH, prot: 'rw', address: AT });
    new Int32Array(shared).fill(5);
    const there = attach(structuredClone(mm.handle));
    const tlb = createTlb(there);
    there.inside(() => {
      for (let turn = 0; turn < 3; turn++) {
        expect(tlb.load32(AT + MiB)).toBe(5);
        expect(codeOf(() => tlb.load32(AT))).toBe('BANK_UNREACHABLE');
        expect(codeOf(() => tlb.store32(AT, 1))).toBe('BANK_UNREACHABLE');
        expect(codeOf(() => there.read(AT, word))).toBe('BANK_UNREACHABLE');
        expect(codeOf(() => there.write(AT, word))).toBe('BANK_UNREACHABLE');
      }
    });
    expect(new Int32Array(shared).every((value) => value === 5)).toBe(true);
  });
});

describe('backed pages, through translations', () => {
  const files: BackingFile[] = [];
  afterEach(() => {
    for (const file of files.splice(0)) file.close();
  });

  function backed(pages: number) {
    const machine = testMachine({ memory: 8 * MiB, swap: MiB });
    const mm = machine.createAddressSpace();
    const flags = ['private', 'anonymous', 'fixed'] as const;
    mm.mmap({ address: AT, length: pages * PAGE_SIZE, prot: 'rw', flags });
    const content = new Int32Array((pages * PAGE_SIZE) / 4).map((_, at) => (at >> 10) + 1);
    const file = new BackingFile(machine, new Uint8Array(content.buffer));
    files.push(file);
    file.map(mm, AT, pages);
    const isThere = (page: number): boolean => !isBacked(readPte(mm, AT + page * PAGE_SIZE).low);
    return { machine, mm, tlb: createTlb(mm), isThere };
  }

  it('are loaded by a miss, put back by reclaim, and loaded again', () => {
    const { machine, mm, tlb, isThere } = backed(8);
    mm.inside(() => {
      for (let turn = 0; turn < 3; turn++) {
        for (let page = 0; page < 8; page++) {
          expect(isThere(page)).toBe(false);
          for (let hit = 0; hit < 2; hit++) {
            expect(tlb.load32(AT + page * PAGE_SIZE + 16)).toBe(page + 1);
          }
          expect(isThere(page)).toBe(true);
        }
        machine.reclaim(machine.memory.total);
      }
    });
    assertTablesTrue(machine);
  });

  it('keep what was stored: a page that was only loaded goes back, one that was stored to does not', () => {
    const { machine, mm, tlb, isThere } = backed(4);
    mm.inside(() => {
      for (let turn = 1; turn < 4; turn++) {
        for (let page = 0; page < 4; page++) tlb.load32(AT + page * PAGE_SIZE);
        tlb.store32(AT + 4, turn);
        tlb.store32(AT + 8, turn * 2); // a hit
        machine.reclaim(machine.memory.total);
        expect([0, 1, 2, 3].map(isThere)).toEqual([true, false, false, false]);
        expect([tlb.load32(AT), tlb.load32(AT + 4), tlb.load32(AT + 8)]).toEqual([
          1,
          turn,
          turn * 2,
        ]);
      }
    });
    expect(new Int32Array(readBytes(mm, AT, PAGE_SIZE).buffer)[2]).toBe(6);
    assertTablesTrue(machine);
  });
});
