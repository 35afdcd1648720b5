/**
 * Invariants checked: each way to fault adds to the counters that Linux's words name, and to no
 * other · minor and major are all faults · listeners are told the faults of their own thread, in
 * order, after the operation, when no lock is held · what a listener does disturbs no access that
 * is under way · counters begin at 0 in every address space
 */
import { afterEach, describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { createTlb } from '../../../src/mmu/machine/tlb.ts';
import type { Fault, FaultCounters } from '../../../src/mmu/mm/fault-log.ts';
import { MM_FIELD, MmStruct } from '../../../src/mmu/mm/mm-struct.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { BackingFile } from '../../support/machine/backed.ts';
import { codeOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const AT = 0x4000_0000;
const ANON = { prot: 'rw', flags: ['private', 'anonymous', 'fixed'] } as const;
const NONE: FaultCounters = {
  minor: 0,
  major: 0,
  cow: 0,
  reuse: 0,
  swapIn: 0,
  backing: 0,
  zeroPage: 0,
  huge: 0,
};
const files: BackingFile[] = [];

afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

function fixture(length = 8 * PAGE_SIZE) {
  const machine = testMachine({ memory: 16 * MiB, swap: MiB, zeroPage: true });
  const mm = machine.createAddressSpace();
  mm.mmap({ ...ANON, address: AT, length });
  return { machine, mm };
}

/** What `work` adds to the counters; those that stay are left out. */
function added(mm: AddressSpace, work: () => void): Partial<FaultCounters> {
  const before = mm.counters();
  work();
  const after = mm.counters();
  const names = Object.keys(after) as (keyof FaultCounters)[];
  const grown = names.filter((name) => after[name] !== before[name]);
  return Object.fromEntries(grown.map((name) => [name, after[name] - before[name]]));
}

const byte = new Uint8Array(1);
const read = (mm: AddressSpace, at = AT): void => mm.read(at, byte);
const write = (mm: AddressSpace, at = AT): void => mm.write(at, byte);

describe('counters', () => {
  it('of anonymous memory: the first write, the zero page, copy-on-write, reuse', () => {
    const { mm } = fixture();
    expect(mm.counters()).toEqual(NONE);
    expect(added(mm, () => write(mm))).toEqual({ minor: 1 });
    expect(added(mm, () => write(mm))).toEqual({});
    expect(added(mm, () => read(mm, AT + PAGE_SIZE))).toEqual({ minor: 1, zeroPage: 1 });
    expect(added(mm, () => write(mm, AT + PAGE_SIZE))).toEqual({ minor: 1, cow: 1 });
    const child = mm.fork();
    expect(child.counters()).toEqual(NONE);
    expect(added(child, () => write(child))).toEqual({ minor: 1, cow: 1 });
    expect(added(mm, () => write(mm))).toEqual({ minor: 1, reuse: 1 });
    expect(added(mm, () => mm.fill(AT + 2 * PAGE_SIZE, 4 * PAGE_SIZE, 1))).toEqual({ minor: 4 });
    expect(added(mm, () => codeOf(() => write(mm, AT - 1)))).toEqual({});
  });

  it('of swap: a page that comes back is a major fault', () => {
    const { machine, mm } = fixture();
    write(mm);
    mm.madvise(AT, PAGE_SIZE, 'pageout');
    expect(added(mm, () => read(mm))).toEqual({ major: 1, swapIn: 1 });
    expect(machine.swap.free).toBe(machine.swap.total);
  });

  it('of a backing: major', () => {
    const { machine, mm } = fixture();
    const file = new BackingFile(machine, new Uint8Array(4 * PAGE_SIZE).fill(3));
    files.push(file);
    file.map(mm, AT, 4);
    expect(added(mm, () => read(mm))).toEqual({ major: 1, backing: 1 });
    expect(added(mm, () => write(mm, AT + PAGE_SIZE))).toEqual({ major: 1, backing: 1 });
    expect(added(mm, () => write(mm))).toEqual({ minor: 1, reuse: 1 });
  });

  it('of files: major where bytes are read, minor where they are cached', () => {
    const { machine, mm } = fixture();
    const content = new Uint8Array(3 * PAGE_SIZE).fill(7);
    const { id } = machine.createFile({ path: '/a', content });
    const length = 3 * PAGE_SIZE;
    const shared = mm.mmap({ length, prot: 'rw', flags: ['shared'], file: id });
    const own = mm.mmap({ length, prot: 'rw', flags: ['private'], file: id });
    expect(added(mm, () => read(mm, shared))).toEqual({ major: 1 });
    expect(added(mm, () => read(mm, own))).toEqual({ minor: 1 });
    expect(added(mm, () => write(mm, own))).toEqual({ minor: 1, cow: 1 });
    expect(added(mm, () => write(mm, own + PAGE_SIZE))).toEqual({ major: 1, cow: 1 });
    const memory = machine.createFile({ path: '/m', memoryBacked: { size: length } });
    const hole = mm.mmap({ length, prot: 'rw', flags: ['shared'], file: memory.id });
    expect(added(mm, () => write(mm, hole))).toEqual({ minor: 1 });
  });

  it('of huge pages', () => {
    const { mm } = fixture(4 * MiB);
    mm.madvise(AT, 4 * MiB, 'hugepage');
    expect(added(mm, () => write(mm))).toEqual({ minor: 1, huge: 1 });
    expect(added(mm, () => write(mm, AT + MiB))).toEqual({});
    expect(added(mm, () => read(mm, AT + 2 * MiB))).toEqual({ minor: 1, zeroPage: 1 });
    expect(added(mm, () => write(mm, AT + 3 * MiB))).toEqual({ minor: 1, huge: 1 });
    mm.fork().exit();
    expect(added(mm, () => write(mm))).toEqual({ minor: 1, reuse: 1 });
    const child = mm.fork();
    expect(added(mm, () => write(mm))).toEqual({ minor: 1, cow: 1 }); // split before
    child.exit();
  });

  it('are the same for all who are attached, have 64 bits, and begin anew', async () => {
    const { machine, mm } = fixture();
    const twin = attach(structuredClone(mm.handle));
    write(twin);
    expect(mm.counters().minor).toBe(1);
    const struct = new MmStruct(machine.parts.mmWords, mm.handle.slot);
    struct.words[struct.base + MM_FIELD.COUNTERS] = -1; // first mappings, 2^32 - 1
    write(mm, AT + PAGE_SIZE);
    expect((await twin.countersAsync()).minor).toBe(2 ** 32);
    mm.exit();
    expect(codeOf(() => mm.counters())).toBe('MM_GONE');
    const next = machine.createAddressSpace();
    expect([next.handle.slot, next.counters()]).toEqual([mm.handle.slot, NONE]);
  });
});

describe('machine.on', () => {
  it('tells the faults of the thread, in order, until it is taken away', async () => {
    const { machine, mm } = fixture();
    const told: Fault[] = [];
    const listener = (fault: Fault): void => void told.push(fault);
    write(mm);
    expect(machine.on('fault', listener).on('fault', listener)).toBe(machine);
    const { slot } = mm.handle;
    const fault = { slot, access: 'write', isMajor: false } as const;
    mm.fill(AT, 2 * PAGE_SIZE, 1);
    expect(told.splice(0)).toEqual([{ ...fault, address: AT + PAGE_SIZE, kind: 'anonymous' }]);
    mm.madvise(AT, PAGE_SIZE, 'pageout');
    await mm.readAsync(AT, byte);
    expect(told.splice(0)).toEqual([
      { slot, address: AT, access: 'read', kind: 'swapIn', isMajor: true },
    ]);
    mm.mmap({ ...ANON, address: AT, length: 2 * PAGE_SIZE, flags: [...ANON.flags, 'populate'] });
    expect(told.splice(0).map(({ address }) => address)).toEqual([AT, AT + PAGE_SIZE]);
    expect(codeOf(() => mm.write(AT + 8 * PAGE_SIZE - 70, new Uint8Array(140)))).toBe('SIGSEGV');
    expect(told.splice(0)).toHaveLength(1); // the page before the one that failed
    const other = attach(structuredClone(mm.handle)); // as another thread does it
    write(other, AT + 3 * PAGE_SIZE);
    machine.off('fault', listener);
    write(mm, AT + 4 * PAGE_SIZE);
    expect(told).toEqual([]);
  });

  it('a listener may use the memory, also that of the TLB whose miss it is told', () => {
    const { machine, mm } = fixture();
    const tlb = createTlb(mm);
    tlb.store32(AT + PAGE_SIZE, 77);
    const seen: number[] = [];
    machine.on('fault', ({ address }) => {
      seen.push(address);
      expect(tlb.load32(AT + PAGE_SIZE)).toBe(77);
      readBytes(mm, AT + 7 * PAGE_SIZE, 100);
      tlb.store64(AT + PAGE_SIZE + 8, 0x1234n);
      mm.madvise(AT + 6 * PAGE_SIZE, PAGE_SIZE, 'dontneed');
    });
    mm.inside(() => {
      expect(tlb.load32(AT)).toBe(0);
      tlb.store32(AT + 2 * PAGE_SIZE, -5);
      tlb.store32(AT + 4 * PAGE_SIZE - 2, 0x01020304);
      expect(tlb.load32(AT + 2 * PAGE_SIZE)).toBe(-5);
      expect(tlb.load32(AT + 4 * PAGE_SIZE - 2)).toBe(0x01020304);
      expect(mm.translate(AT + 5 * PAGE_SIZE, 'write').end).toBe(AT + 6 * PAGE_SIZE);
    });
    expect(new Set(seen)).toEqual(new Set([0, 7, 2, 3, 4, 5].map((page) => AT + page * PAGE_SIZE)));
  });

  it('an error of a listener is not that of the access', async () => {
    const { machine, mm } = fixture();
    const thrown = new Error('from a listener');
    const caught = new Promise((resolve) => {
      const others = process.listeners('uncaughtException');
      process.removeAllListeners('uncaughtException');
      process.once('uncaughtException', (error) => {
        for (const each of others) process.on('uncaughtException', each);
        resolve(error);
      });
    });
    machine.on('fault', () => {
      throw thrown;
    });
    write(mm);
    expect(await caught).toBe(thrown);
  });

  it('is refused for another event, and for what is no function', async () => {
    const { machine } = fixture();
    expect(codeOf(() => machine.on('faults' as never, () => {}))).toBe('OPTION_INVALID');
    expect(codeOf(() => machine.on('fault', 1 as never))).toBe('OPTION_INVALID');
    expect(codeOf(() => machine.off('fault', undefined as never))).toBe('OPTION_INVALID');
    await machine.close();
    expect(codeOf(() => machine.on('fault', () => {}))).toBe('MACHINE_CLOSED');
  });
});
