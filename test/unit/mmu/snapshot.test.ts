/** Snapshots in memory: what they keep, what a rewind costs, and how they end. */
import { describe, expect, it } from 'vitest';
import { readPageStruct, readPte } from '../../../src/mmu/machine/debug.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { codeOf, freeFrames, readBytes, testMachine } from '../../support/machine/machine.ts';

const BASE = 0x4000_0000;
const at = (page: number): number => BASE + page * PAGE_SIZE;

function mapped(options: Parameters<typeof testMachine>[0] = {}, pages = 8) {
  const machine = testMachine({ maxAddressSpaces: 8, ...options });
  const mm = machine.createAddressSpace();
  const length = pages * PAGE_SIZE;
  mm.mmap({ length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'], address: BASE });
  mm.fill(BASE, length, 1);
  return { machine, mm };
}

describe('a snapshot', () => {
  it('takes no page and no leaf table until something is written', () => {
    const { machine, mm } = mapped();
    const before = freeFrames(machine);
    const snapshot = machine.snapshot();
    expect(before - freeFrames(machine)).toBe(3); // the three upper tables
    expect(readBytes(mm, at(0), 1)[0]).toBe(1);
    expect(before - freeFrames(machine)).toBe(3);
    mm.fill(at(2), 1, 9);
    expect(before - freeFrames(machine)).toBe(5); // a leaf table, a page
    mm.fill(at(2), 1, 8);
    mm.fill(at(3), 1, 9);
    expect(before - freeFrames(machine)).toBe(6);
    assertTablesTrue(machine);
    snapshot.rewind();
    expect(readBytes(mm, at(2), 1)[0]).toBe(1);
    expect(before - freeFrames(machine)).toBe(4); // the table stays, for the next time
    assertTablesTrue(machine);
    snapshot.drop();
    assertTablesTrue(machine);
    expect(freeFrames(machine)).toBe(before);
    mm.fill(at(4), 1, 7); // in place: nobody shares the page any more
    expect(freeFrames(machine)).toBe(before);
  });

  it('is no address space of any list, and lets reclaim and merging alone', () => {
    const { machine, mm } = mapped({ swap: 4 * MiB });
    const snapshot = machine.snapshot();
    expect(machine.addressSpaces()).toHaveLength(1);
    machine.reclaim(8 * PAGE_SIZE);
    mm.madvise(BASE, 8 * PAGE_SIZE, 'pageout');
    const { pfn } = readPte(mm, at(0));
    expect(readPageStruct(machine, pfn).mapCount).toBe(1);
    mm.madvise(BASE, 8 * PAGE_SIZE, 'mergeable');
    machine.mergePages();
    assertTablesTrue(machine);
    snapshot.rewind();
    assertTablesTrue(machine);
    expect(readBytes(mm, at(7), 1)[0]).toBe(1);
    expect(mm.vmas()[0]?.flagNames).not.toContain('MERGEABLE');
  });

  it('can be gone back to after another one was taken, and the other way round', () => {
    const { machine, mm } = mapped();
    const first = machine.snapshot();
    mm.fill(at(1), 1, 2);
    const second = machine.snapshot();
    const seen = (): number => readBytes(mm, at(1), 1)[0]!;
    first.rewind(); // no table was written since the second one
    expect(seen()).toBe(1);
    second.rewind();
    expect(seen()).toBe(2);
    first.drop();
    mm.fill(at(1), 1, 3);
    second.rewind();
    expect(seen()).toBe(2);
    assertTablesTrue(machine);
  });

  it('marks what a rewind puts back as written', () => {
    const { machine, mm } = mapped();
    const snapshot = machine.snapshot();
    mm.fill(at(5), 1, 2);
    mm.dirty.start();
    snapshot.rewind();
    expect(mm.dirty.take()).toEqual([{ start: at(5), end: at(6) }]);
    snapshot.rewind();
    expect(mm.dirty.take()).toEqual([]);
  });

  it('keeps adopted memory, and stores it back where it came from', () => {
    const memory = new SharedArrayBuffer(4 * PAGE_SIZE);
    const ram = new Uint8Array(memory);
    const { machine, mm } = mapped({ banks: [memory] });
    const place = mm.mapFrames({ length: memory.byteLength, prot: 'rw', address: at(20) });
    ram.fill(5);
    const snapshot = machine.snapshot();
    ram[PAGE_SIZE] = 6;
    mm.fill(place, 1, 7);
    snapshot.rewind();
    expect(ram.every((byte) => byte === 5)).toBe(true);
    ram[1] = 8;
    mm.munmap(place, memory.byteLength);
    snapshot.rewind();
    expect(readBytes(mm, place, 2)).toEqual(Uint8Array.of(5, 5));
    ram[0] = 9; // it is mapped again, not copied
    expect(readBytes(mm, place, 1)).toEqual(Uint8Array.of(9));
    assertTablesTrue(machine);
    snapshot.drop();
    assertTablesTrue(machine);
  });

  it('keeps several address spaces at one instant, and state beside them', async () => {
    const { machine, mm } = mapped();
    const child = mm.fork();
    const cpu = Uint8Array.of(1, 2, 3);
    const snapshot = await machine.snapshotAsync({ state: { cpu } });
    cpu[0] = 9;
    snapshot.state.cpu![1] = 9;
    expect(snapshot.state).toEqual({ cpu: Uint8Array.of(1, 2, 3) });
    mm.fill(BASE, 8 * PAGE_SIZE, 2);
    child.fill(BASE, 8 * PAGE_SIZE, 3);
    child.munmap(BASE, PAGE_SIZE);
    await snapshot.rewindAsync();
    expect(readBytes(child, BASE, 1)).toEqual(Uint8Array.of(1));
    expect(readBytes(mm, at(7), 1)).toEqual(Uint8Array.of(1));
    assertTablesTrue(machine);
    await snapshot.dropAsync();
    await snapshot.dropAsync();
    expect(codeOf(() => snapshot.rewind())).toBe('OPTION_INVALID');
  });

  it('refuses what is wrong, and leaves nothing behind when memory is short', () => {
    const { machine, mm } = mapped({ maxAddressSpaces: 2, memory: MiB });
    const other = testMachine().createAddressSpace();
    const take = (options: unknown): string => codeOf(() => machine.snapshot(options as never));
    expect(take({ spaces: [other] })).toBe('OPTION_INVALID');
    expect(take({ spaces: [mm, mm] })).toBe('OPTION_INVALID');
    expect(take({ spaces: [] })).toBe('OPTION_INVALID');
    expect(take({ state: { a: 5 } })).toBe('OPTION_INVALID');
    expect(take({ state: { a: new Uint8Array(5) }, maxStateBytes: 4 })).toBe('OPTION_INVALID');
    expect(take({ stat: {} })).toBe('OPTION_INVALID');
    const snapshot = machine.snapshot();
    expect(take({})).toBe('ENOMEM'); // no slot
    snapshot.drop();
    const free = freeFrames(machine);
    const length = free * PAGE_SIZE;
    const full = mm.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
    for (let page = 0; freeFrames(machine) > 2; page++) mm.fill(full + page * PAGE_SIZE, 1, 1);
    expect(take({})).toBe('ENOMEM');
    assertTablesTrue(machine);
    mm.munmap(full, length);
    expect(freeFrames(machine)).toBe(free);
  });

  it('fails to rewind an address space that is gone, and ends with the machine', async () => {
    const { machine, mm } = mapped();
    const snapshot = machine.snapshot();
    const freeze = await machine.freeze();
    expect(codeOf(() => snapshot.rewind())).toBe('EAGAIN');
    expect(codeOf(() => machine.snapshot())).toBe('EAGAIN');
    freeze.thaw();
    mm.exit();
    expect(codeOf(() => snapshot.rewind())).toBe('MM_GONE');
    await machine.close();
    expect(codeOf(() => snapshot.rewind())).toBe('MACHINE_CLOSED');
    snapshot.drop();
    expect(snapshot.isDropped).toBe(true);
  });
});
