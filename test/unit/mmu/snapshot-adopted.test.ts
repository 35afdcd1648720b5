/** Snapshots of adopted memory: shared or not, with marks or without, and once it is gone. */
import { describe, expect, it } from 'vitest';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { codeOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const AT = 0x4000_0000;
const LENGTH = 4 * PAGE_SIZE;
const Resizable = ArrayBuffer as unknown as new (
  length: number,
  options: { maxByteLength: number },
) => ArrayBuffer & { resize(length: number): void };

function fixture(memory: ArrayBuffer | SharedArrayBuffer, isMarked: boolean) {
  const dirty = new Uint8Array(new SharedArrayBuffer(4));
  const bank = isMarked ? { memory, dirty } : memory;
  const machine = testMachine({ memory: 16 * MiB, maxAddressSpaces: 8, banks: [bank] });
  const mm = machine.createAddressSpace();
  mm.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
  return { machine, mm, dirty, ram: new Uint8Array(memory) };
}

describe.each([
  ['shared', () => new SharedArrayBuffer(LENGTH)],
  ['not shared', () => new ArrayBuffer(LENGTH)],
])('adopted memory, %s', (_name, make) => {
  it.each([false, true])('goes back where it came from; marks: %s', (isMarked) => {
    const { machine, mm, ram, dirty } = fixture(make(), isMarked);
    ram.fill(1);
    const snapshot = machine.snapshot();
    ram[PAGE_SIZE] = 2;
    dirty[1] = 1;
    mm.write(AT + 2 * PAGE_SIZE, Uint8Array.of(3)); // by a translation, where one is kept
    snapshot.rewind();
    expect(ram.every((byte) => byte === 1)).toBe(true);
    expect(readBytes(mm, AT, LENGTH).every((byte) => byte === 1)).toBe(true);
    mm.munmap(AT, LENGTH);
    ram.fill(4);
    snapshot.rewind();
    expect(ram.every((byte) => byte === 1)).toBe(true);
    ram[5] = 6;
    expect(readBytes(mm, AT + 5, 1)).toEqual(Uint8Array.of(6));
    assertTablesTrue(machine);
    snapshot.drop();
    assertTablesTrue(machine);
  });

  it('tells by its marks, and by stores of the machine, which pages were written', () => {
    const { mm, ram, dirty } = fixture(make(), true);
    mm.dirty.start();
    ram[PAGE_SIZE] = 2;
    dirty[1] = 1;
    mm.write(AT + 3 * PAGE_SIZE, Uint8Array.of(3));
    const page = (number: number) => AT + number * PAGE_SIZE;
    expect(mm.dirty.take()).toEqual([
      { start: page(1), end: page(2) },
      { start: page(3), end: page(4) },
    ]);
    expect([...dirty]).toEqual([0, 0, 0, 0]);
    mm.write(AT + 3 * PAGE_SIZE, Uint8Array.of(3));
    expect(mm.dirty.take()).toEqual([{ start: page(3), end: page(4) }]);
    expect(mm.dirty.take()).toEqual([]);
  });
});

describe.each([false, true])('a rewind that trusts marks, and takes dirty pages: %s', (takes) => {
  it('looks at what was marked or written by the machine, once for each snapshot', () => {
    const { machine, mm, ram, dirty } = fixture(new SharedArrayBuffer(LENGTH), true);
    ram.fill(1);
    dirty.fill(1);
    mm.dirty.take();
    const first = machine.snapshot({ trustMarks: true });
    ram.fill(2, PAGE_SIZE, 2 * PAGE_SIZE);
    dirty[1] = 1;
    const second = machine.snapshot({ trustMarks: true });
    for (const [snapshot, value] of [
      [second, 2],
      [first, 1],
      [second, 2],
      [first, 1],
    ] as const) {
      mm.fill(AT + 2 * PAGE_SIZE, 5, 9); // by the machine: no mark
      ram[3 * PAGE_SIZE] = 7;
      dirty[3] = 1;
      if (takes) mm.dirty.take();
      snapshot.rewind();
      expect(ram[PAGE_SIZE]).toBe(value);
      expect([ram[0], ram[2 * PAGE_SIZE], ram[3 * PAGE_SIZE]]).toEqual([1, 1, 1]);
      const starts = mm.dirty.take().map(({ start }) => (start - AT) / PAGE_SIZE);
      expect(starts.length).toBeGreaterThan(0); // what is put back is dirty
      ram[0] = 99; // without a mark: the promise is broken, and the page is not looked at
      snapshot.rewind();
      expect(ram[0]).toBe(99);
      ram[0] = 1;
    }
    assertTablesTrue(machine);
  });

  it('compares what several mappings show, and what has no marks', () => {
    const { machine, mm, ram } = fixture(new SharedArrayBuffer(LENGTH), true);
    ram.fill(1);
    const other = machine.createAddressSpace();
    const snapshot = machine.snapshot({ spaces: [mm], trustMarks: true });
    snapshot.rewind();
    other.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    other.fill(AT, 3, 5);
    if (takes) other.dirty.take();
    other.munmap(AT, LENGTH);
    if (takes) mm.dirty.take();
    snapshot.rewind();
    expect(ram[0]).toBe(1);
    const plain = fixture(new SharedArrayBuffer(LENGTH), false);
    const kept = plain.machine.snapshot({ trustMarks: true });
    plain.ram[5] = 5;
    kept.rewind();
    expect(plain.ram[5]).toBe(0);
  });
});

describe('adopted memory that is gone', () => {
  it('fails a rewind before any page has changed', () => {
    const memory = new Resizable(LENGTH, { maxByteLength: LENGTH });
    const { machine, mm } = fixture(memory, false);
    const place = mm.mmap({ length: PAGE_SIZE, prot: 'rw', flags: ['private', 'anonymous'] });
    const other = mm.fork();
    mm.fill(place, PAGE_SIZE, 1);
    other.fill(place, PAGE_SIZE, 1);
    const snapshot = machine.snapshot({ spaces: [other, mm] });
    mm.fill(place, PAGE_SIZE, 2);
    other.fill(place, PAGE_SIZE, 2);
    memory.resize(LENGTH - PAGE_SIZE);
    expect(codeOf(() => snapshot.rewind())).toBe('BANK_UNREACHABLE');
    expect(codeOf(() => machine.snapshot({ spaces: [mm] }))).toBe('BANK_UNREACHABLE');
    expect(readBytes(mm, place, 1)).toEqual(Uint8Array.of(2));
    expect(readBytes(other, place, 1)).toEqual(Uint8Array.of(2));
    assertTablesTrue(machine);
    memory.resize(LENGTH);
    snapshot.rewind();
    expect(readBytes(mm, place, 1)).toEqual(Uint8Array.of(1));
    expect(readBytes(other, place, 1)).toEqual(Uint8Array.of(1));
    assertTablesTrue(machine);
  });
});
