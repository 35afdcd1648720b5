/**
 * Invariants checked: memory of the caller and what the mm shows are the same bytes, whichever side
 * stores · no call copies, merges, swaps out, zeroes or frees an adopted frame · a fork copies ·
 * what is dropped leaves the caller's bytes · counts agree with the page tables after every call
 */
import { describe, expect, it } from 'vitest';
import { attach, createMachine } from '../../../src/mmu/machine/attach.ts';
import {
  readPageStruct,
  readPte,
  writePageStruct,
  writePte,
} from '../../../src/mmu/machine/debug.ts';
import { ADOPTABLE, adoptedParts } from '../../../src/mmu/physical/adopted.ts';
import { BANK_FRAMES } from '../../../src/mmu/physical/physical-memory.ts';
import { GiB, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { Memory } from '../../../src/shared/wasm.ts';
import { privateMemory } from '../../support/machine/adopted.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import {
  codeOf,
  freeFrames,
  maps,
  pageOf,
  readBytes,
  testMachine,
} from '../../support/machine/machine.ts';

const PAGES = 32; // two wasm pages
const LENGTH = PAGES * PAGE_SIZE;
const AT = 0x1000_0000;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;

const MEMORIES = [
  ['a WebAssembly.Memory', () => new Memory({ initial: 2, maximum: 4, shared: true })],
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(LENGTH)],
  ['a SharedArrayBuffer that can grow', () => growing(SharedArrayBuffer)],
  ['a WebAssembly.Memory that is not shared', () => privateMemory(2)],
  ['an ArrayBuffer', () => new ArrayBuffer(LENGTH)],
  ['an ArrayBuffer that can grow', () => growing(ArrayBuffer)],
] as const;

/** A buffer of LENGTH bytes that can grow. */
function growing<T>(type: new (bytes: number) => T): T {
  const Growing = type as new (bytes: number, options: object) => T;
  return new Growing(LENGTH, { maxByteLength: 2 * LENGTH });
}

function pattern(ram: Uint8Array): void {
  for (let at = 0; at < ram.length; at++) ram[at] = (at * 7 + (at >> 12) * 31 + 1) & 0xff;
}

/** Compares bytes, which toEqual does one by one. */
function expectBytes(found: Uint8Array, expected: Uint8Array): void {
  expect(Buffer.compare(found, expected)).toBe(0);
}

describe.each(MEMORIES)('adopted memory: %s', (_name, memoryOf) => {
  /** A machine that maps all of the memory at AT, and the view of the memory's owner. */
  function fixture() {
    const bank = memoryOf();
    const ram = new Uint8Array('buffer' in bank ? bank.buffer : bank);
    pattern(ram);
    const machine = testMachine({ banks: [bank], swap: MiB, memory: 2 * MiB });
    const space = machine.createAddressSpace();
    const before = freeFrames(machine);
    expect(space.mapFrames({ length: LENGTH, prot: 'rw', address: AT })).toBe(AT);
    const copy = Uint8Array.from(ram);
    const shown = (): Uint8Array => readBytes(space, AT, LENGTH);
    return { machine, space, ram, copy, before, shown };
  }

  it('shows the same bytes to both sides', () => {
    const { machine, space, ram, copy, shown } = fixture();
    expectBytes(shown(), copy);
    ram[5 * PAGE_SIZE + 3] = 99;
    expect(readBytes(space, AT + 5 * PAGE_SIZE + 3, 1)[0]).toBe(99);
    space.write(AT + PAGE_SIZE - 2, new Uint8Array([1, 2, 3, 4]));
    expect([...ram.subarray(PAGE_SIZE - 2, PAGE_SIZE + 2)]).toEqual([1, 2, 3, 4]);
    space.fill(AT + 2 * PAGE_SIZE, 3 * PAGE_SIZE, 0);
    expect(ram.subarray(2 * PAGE_SIZE, 5 * PAGE_SIZE)).toEqual(new Uint8Array(3 * PAGE_SIZE));
    assertTablesTrue(machine);
  });

  it('takes nothing but page tables from the machine, and gives them back', () => {
    const { machine, space, ram, copy, before } = fixture();
    expect(before - freeFrames(machine)).toBe(3);
    space.munmap(AT, LENGTH);
    assertTablesTrue(machine);
    expect(freeFrames(machine)).toBe(before);
    expectBytes(Uint8Array.from(ram), copy);
    space.mapFrames({ length: LENGTH, prot: 'r', address: AT });
    space.exit();
    assertTablesTrue(machine);
    expectBytes(Uint8Array.from(ram), copy);
  });

  it('says in the page struct what the frame is', () => {
    const { machine, space } = fixture();
    const [bank] = machine.banks;
    expect(bank).toEqual({ pfn: BANK_FRAMES, pages: PAGES });
    const { pfn } = readPte(space, AT + PAGE_SIZE);
    expect(pfn).toBe(BANK_FRAMES + 1);
    const { flags, references, mapCount, mapping } = readPageStruct(machine, pfn);
    expect(flags).toEqual(['anon', 'swapbacked', 'adopted']);
    expect([references, mapCount]).toEqual([1, 1]);
    expect(mapping).toBeGreaterThan(0);
  });

  it('is an ordinary anonymous mapping, which merges with its neighbours', () => {
    const { machine, space } = fixture();
    const vma = space.vmas()[0]!;
    expect(vma.file).toBeNull();
    space.mmap({ ...ANON, address: AT + LENGTH, length: PAGE_SIZE });
    expect(maps(space)).toEqual([
      `${AT.toString(16)}-${(AT + LENGTH + PAGE_SIZE).toString(16)} rw-p`,
    ]);
    expect(space.mincore(AT, LENGTH + PAGE_SIZE)).toEqual(
      new Uint8Array(PAGES + 1).fill(1, 0, PAGES),
    );
    assertTablesTrue(machine);
  });

  it('maps parts, twice, and in several mms, all of which write the same bytes', () => {
    const { machine, space, ram } = fixture();
    const other = machine.createAddressSpace();
    const part = { length: 2 * PAGE_SIZE, offset: 3 * PAGE_SIZE, prot: 'rw' } as const;
    const here = space.mapFrames(part);
    const there = other.mapFrames(part);
    space.write(here + 1, new Uint8Array([11]));
    other.write(there + 2, new Uint8Array([12]));
    space.write(AT + 3 * PAGE_SIZE + 3, new Uint8Array([13]));
    expect([...ram.subarray(3 * PAGE_SIZE + 1, 3 * PAGE_SIZE + 4)]).toEqual([11, 12, 13]);
    expect(readPageStruct(machine, BANK_FRAMES + 3).references).toBe(3);
    assertTablesTrue(machine);
  });

  it('stays in place under mprotect and mremap', () => {
    const { machine, space, ram, copy } = fixture();
    space.mprotect(AT, LENGTH, 'r');
    expect(codeOf(() => space.fill(AT, 1, 1))).toBe('SIGSEGV');
    space.mprotect(AT, LENGTH, '');
    space.mprotect(AT, LENGTH, 'rw');
    space.fill(AT, 1, 77);
    expect(ram[0]).toBe(77);
    ram[0] = copy[0]!;
    const moved = space.mremap(AT, LENGTH, LENGTH + PAGE_SIZE, ['maymove', 'fixed'], 2 * AT);
    expectBytes(readBytes(space, moved, LENGTH), copy);
    expectBytes(readBytes(space, moved + LENGTH, PAGE_SIZE), pageOf(0));
    space.mremap(moved, LENGTH + PAGE_SIZE, 2 * PAGE_SIZE);
    space.fill(moved, 2 * PAGE_SIZE, 1);
    expectBytes(
      Uint8Array.from(ram.subarray(0, 2 * PAGE_SIZE)),
      new Uint8Array(2 * PAGE_SIZE).fill(1),
    );
    expectBytes(Uint8Array.from(ram.subarray(2 * PAGE_SIZE)), copy.slice(2 * PAGE_SIZE));
    assertTablesTrue(machine);
  });

  it('is not swapped out, reclaimed, freed or merged', () => {
    const { machine, space, ram, copy, shown } = fixture();
    ram.copyWithin(PAGE_SIZE, 0, PAGE_SIZE);
    copy.copyWithin(PAGE_SIZE, 0, PAGE_SIZE);
    for (const advice of ['pageout', 'free', 'cold', 'mergeable', 'hugepage'] as const) {
      space.madvise(AT, LENGTH, advice);
    }
    expect(machine.reclaim(MiB)).toBe(0);
    expect(machine.reclaim(MiB)).toBe(0);
    expect(machine.mergePages()).toBe(0);
    space.madvise(AT, LENGTH, 'unmergeable');
    space.mlock(AT, LENGTH);
    space.munlock(AT, LENGTH);
    expectBytes(shown(), copy);
    expect(readPte(space, AT).pfn).toBe(BANK_FRAMES);
    expect(machine.swap.free).toBe(machine.swap.total);
    assertTablesTrue(machine);
  });

  it('is left as it is by what drops pages', () => {
    const { machine, space, ram, copy } = fixture();
    space.madvise(AT, PAGE_SIZE, 'dontneed');
    space.madvise(AT + PAGE_SIZE, PAGE_SIZE, 'guard_install');
    space.mmap({ ...ANON, address: AT + 2 * PAGE_SIZE, length: PAGE_SIZE });
    space.fill(AT, PAGE_SIZE, 1);
    expect(codeOf(() => space.fill(AT + PAGE_SIZE, 1, 1))).toBe('SIGSEGV');
    expectBytes(readBytes(space, AT + 2 * PAGE_SIZE, PAGE_SIZE), pageOf(0));
    expectBytes(
      readBytes(space, AT + 3 * PAGE_SIZE, PAGE_SIZE),
      copy.slice(3 * PAGE_SIZE, 4 * PAGE_SIZE),
    );
    expectBytes(Uint8Array.from(ram), copy);
    expect(space.mapFrames({ length: LENGTH, prot: 'rw', address: AT, flags: ['fixed'] })).toBe(AT);
    expectBytes(readBytes(space, AT, LENGTH), copy);
    assertTablesTrue(machine);
  });

  it('is copied for the child of a fork, which no later store reaches', () => {
    const { machine, space, ram, copy } = fixture();
    const child = space.fork();
    assertTablesTrue(machine);
    ram.fill(1);
    expectBytes(readBytes(child, AT, LENGTH), copy);
    space.fill(AT, PAGE_SIZE, 2);
    expect(ram[0]).toBe(2);
    child.fill(AT, PAGE_SIZE, 3);
    expect(ram[0]).toBe(2);
    expectBytes(readBytes(space, AT + PAGE_SIZE, PAGE_SIZE), pageOf(1));
    const grandchild = child.fork();
    child.fill(AT, PAGE_SIZE, 4);
    expectBytes(readBytes(grandchild, AT, PAGE_SIZE), pageOf(3));
    assertTablesTrue(machine);
  });

  it('undoes a fork for which memory runs out', () => {
    const { machine, space, shown, copy } = fixture();
    const at = space.mmap({ prot: 'rw', flags: ['private', 'anonymous'], length: 2 * MiB });
    space.mlock(AT, LENGTH);
    expect(codeOf(() => space.mlock(at, 2 * MiB))).toBe('ENOMEM');
    const free = freeFrames(machine);
    expect(codeOf(() => space.fork())).toBe('ENOMEM');
    expect(freeFrames(machine)).toBe(free);
    expectBytes(shown(), copy);
    assertTablesTrue(machine);
  });

  it('leaves the memory to its owner when the machine is closed', async () => {
    const { machine, ram, copy } = fixture();
    await machine.close();
    expectBytes(Uint8Array.from(ram), copy);
    expect(codeOf(() => machine.banks)).toBe('MACHINE_CLOSED');
  });

  it('is seen by whoever attaches with the handle', () => {
    const { machine, space, copy } = fixture();
    const same = attach(structuredClone(space.handle));
    if (machine.parts.memory.firstUnshared === machine.parts.memory.frames) {
      expectBytes(readBytes(same, AT, LENGTH), copy);
      return;
    }
    expectBytes(readBytes(attach(space.handle), AT, LENGTH), copy);
    // The clone of a handle is what another thread would get.
    const free = freeFrames(machine);
    for (const call of [
      () => same.read(AT, new Uint8Array(5)),
      () => same.write(AT, new Uint8Array(5)),
      () => same.fill(AT, 5, 1),
      () => same.fork(),
    ]) {
      expect(call).toThrow(/bank 0 of the machine is memory that is not shared.* reaches it/);
      expect(codeOf(call)).toBe('BANK_UNREACHABLE');
    }
    expect(freeFrames(machine)).toBe(free);
    same.munmap(AT, PAGE_SIZE);
    same.mapFrames({ length: PAGE_SIZE, prot: 'r', address: AT, flags: ['fixed'] });
    expectBytes(readBytes(space, AT, LENGTH), copy);
    assertTablesTrue(machine);
  });

  it('copes with entries and page structs that were damaged', () => {
    const { machine, space, ram, copy } = fixture();
    const { low, high } = readPte(space, AT);
    writePageStruct(machine, BANK_FRAMES + 1, { flags: ['anon'] });
    space.munmap(AT + PAGE_SIZE, PAGE_SIZE);
    const hole = BANK_FRAMES - 1; // behind the frames of the machine's own bank
    expect(codeOf(() => readPageStruct(machine, hole))).toBe('EINVAL');
    writePte(space, AT, { level: 1, low: ((hole << 12) | (low & 0xfff)) >>> 0, high });
    expect(codeOf(() => space.fill(AT, 1, 1))).toBe('SIGBUS');
    expect(codeOf(() => space.read(AT, new Uint8Array(1)))).toBe('SIGBUS');
    space.munmap(AT, LENGTH);
    expectBytes(Uint8Array.from(ram), copy);
    const used = space.mmap({ prot: 'rw', flags: ['private', 'anonymous'], length: MiB });
    space.fill(used, MiB, 5);
    expectBytes(Uint8Array.from(ram), copy);
  });
});

describe('the arguments of mapFrames', () => {
  const bank = new SharedArrayBuffer(LENGTH);
  const space = testMachine({ banks: [bank, bank] }).createAddressSpace();
  const map = (request: object): string => {
    return codeOf(() => space.mapFrames({ length: PAGE_SIZE, prot: 'rw', ...request }));
  };

  it('refuses what is not in the bank', () => {
    expect(map({ bank: 2 })).toBe('EINVAL');
    expect(map({ bank: -1 })).toBe('EINVAL');
    expect(map({ bank: 0.5 })).toBe('EINVAL');
    expect(map({ offset: 1 })).toBe('EINVAL');
    expect(map({ offset: -PAGE_SIZE })).toBe('EINVAL');
    expect(map({ offset: LENGTH })).toBe('EINVAL');
    expect(map({ length: LENGTH + 1 })).toBe('EINVAL');
    expect(map({ length: 0 })).toBe('EINVAL');
    expect(map({ address: -1 })).toBe('EINVAL');
    expect(space.vmas()).toEqual([]);
  });

  it('takes the place that mmap would take', () => {
    expect(map({ address: PAGE_SIZE, flags: ['fixed'] })).toBe('EPERM');
    expect(map({ address: AT, flags: ['fixed_noreplace'] })).toBe('nothing');
    expect(map({ address: AT, flags: ['fixed_noreplace'] })).toBe('EEXIST');
    expect(map({ address: AT + 1, flags: ['fixed'] })).toBe('EINVAL');
    expect(map({ flags: ['shared'] })).toBe('EINVAL');
    expect(map({ length: PAGE_SIZE - 1, bank: 1, flags: ['locked'] })).toBe('nothing');
    expect(space.vmas().at(-1)!.flagNames).toContain('LOCKED');
  });

  it('undoes the mapping if no frame is free for a table', () => {
    const machine = testMachine({ memory: MiB, banks: [bank] });
    const full = machine.createAddressSpace();
    const heap = full.mmap({ ...ANON, address: AT, length: MiB });
    expect(codeOf(() => full.fill(heap, MiB, 1))).toBe('ENOMEM');
    const before = maps(full);
    expect(codeOf(() => full.mapFrames({ length: LENGTH, prot: 'r', address: 4 * AT }))).toBe(
      'ENOMEM',
    );
    expect(maps(full)).toEqual(before);
    assertTablesTrue(machine);
  });

  it('says ENOMEM, EINVAL and nothing else on a machine without banks', () => {
    const none = testMachine().createAddressSpace();
    expect(codeOf(() => none.mapFrames({ length: 1, prot: 'r' }))).toBe('EINVAL');
  });
});

describe('the memories that createMachine adopts', () => {
  const create = (...banks: unknown[]): string => {
    return codeOf(() => createMachine({ memory: MiB, banks: banks as never }));
  };

  it('refuses what is no memory, or not whole pages', () => {
    for (const none of [5, null, {}, new Proxy({}, {}), new Uint8Array(PAGE_SIZE)]) {
      expect(() => ADOPTABLE('banks[0]', none)).toThrow(/expected a WebAssembly.Memory, an Array/);
    }
    expect(create(new ArrayBuffer(PAGE_SIZE + 1))).toBe('OPTION_INVALID');
    expect(create(new ArrayBuffer(0))).toBe('OPTION_INVALID');
    expect(create(new SharedArrayBuffer(0))).toBe('OPTION_INVALID');
    expect(create(new SharedArrayBuffer(PAGE_SIZE + 1))).toBe('OPTION_INVALID');
    expect(create(new Uint8Array(new SharedArrayBuffer(PAGE_SIZE)))).toBe('OPTION_INVALID');
    expect(create(new SharedArrayBuffer(PAGE_SIZE))).toBe('nothing');
  });

  it('keeps a WebAssembly.Memory that kernels reach, and splits it into parts of 2 GiB', () => {
    const memory = new Memory({ initial: 0x8001, maximum: 0x10000, shared: true });
    expect(ADOPTABLE('bank', memory).memory).toBe(memory);
    expect(adoptedParts([{ memory, marks: undefined }])).toEqual({
      parts: [
        { memory, at: 0, pages: BANK_FRAMES },
        { memory, at: 2 * GiB, pages: 16 },
      ],
      unshared: [null, null],
    });
  });

  it('numbers the frames of all banks, and reads those beyond 2 GiB', () => {
    const large = new Memory({ initial: 0x8001, maximum: 0x10000, shared: true });
    const small = new SharedArrayBuffer(2 * PAGE_SIZE);
    const machine = testMachine({ banks: [large, small] });
    expect(machine.banks).toEqual([
      { pfn: BANK_FRAMES, pages: BANK_FRAMES + 16 },
      { pfn: 3 * BANK_FRAMES, pages: 2 },
    ]);
    const view = new Uint8Array(large.buffer, 2 * GiB - PAGE_SIZE, 2 * PAGE_SIZE);
    pattern(view);
    const space = machine.createAddressSpace();
    const edge = { length: 2 * PAGE_SIZE, offset: 2 * GiB - PAGE_SIZE } as const;
    const at = space.mapFrames({ ...edge, prot: 'rw' });
    expectBytes(readBytes(space, at, 2 * PAGE_SIZE), Uint8Array.from(view));
    space.fill(at, 2 * PAGE_SIZE, 9);
    expect(view.every((byte) => byte === 9)).toBe(true);
    expect(machine.memory.total).toBe(16 * MiB);
  });
});
