/**
 * Invariants checked: a machine follows memory that grows, and shows the same bytes before and after
 * · what the memory has gained is no part of the machine · memory that was transferred or shrunk is
 * one clear error, and nothing stays locked · banks of 2 GiB, shared and unshared, have their own
 * bytes · the thread that owns unshared memory never blocks
 */
import { describe, expect, it } from 'vitest';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { BANK_FRAMES } from '../../../src/mmu/physical/physical-memory.ts';
import { GiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { privateMemory } from '../../support/machine/adopted.ts';
import { assertTablesTrue } from '../../support/machine/invariants.ts';
import { codeOf, pageOf, readBytes, testMachine } from '../../support/machine/machine.ts';

const LENGTH = 0x20000;
const AT = 0x1000_0000;

type Resizable = ArrayBuffer & { resize(bytes: number): void };
const Resizable = ArrayBuffer as unknown as new (bytes: number, options: object) => Resizable;

describe('unshared memory that grows', () => {
  it('is followed, and keeps the length that it had', () => {
    const memory = privateMemory(2);
    const machine = testMachine({ banks: [memory] });
    const space = machine.createAddressSpace();
    space.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    space.fill(AT + 5, 1, 7);
    const before = memory.buffer;
    memory.grow(1);
    expect(before.byteLength).toBe(0); // it is detached
    expect(readBytes(space, AT + 5, 1)[0]).toBe(7);
    new Uint8Array(memory.buffer)[PAGE_SIZE] = 8;
    expect(readBytes(space, AT + PAGE_SIZE, 1)[0]).toBe(8);
    memory.grow(1);
    space.write(AT + LENGTH - 2, new Uint8Array([1, 2]));
    const ram = new Uint8Array(memory.buffer);
    expect([...ram.subarray(LENGTH - 2, LENGTH + 1)]).toEqual([1, 2, 0]);
    memory.grow(1);
    const child = space.fork();
    expect(readBytes(child, AT + PAGE_SIZE, 1)[0]).toBe(8);
    expect(machine.banks).toEqual([{ pfn: BANK_FRAMES, pages: 32 }]);
    expect(codeOf(() => space.mapFrames({ length: 1, offset: LENGTH, prot: 'r' }))).toBe('EINVAL');
    assertTablesTrue(machine);
  });

  it('is followed where it is an ArrayBuffer', () => {
    const buffer = new Resizable(LENGTH, { maxByteLength: 4 * LENGTH });
    const space = testMachine({ banks: [buffer] }).createAddressSpace();
    space.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    new Uint8Array(buffer)[9] = 3;
    buffer.resize(3 * LENGTH);
    expect(readBytes(space, AT + 9, 1)[0]).toBe(3);
    buffer.resize(LENGTH);
    space.fill(AT, LENGTH, 4);
    expect(new Uint8Array(buffer).every((byte) => byte === 4)).toBe(true);
  });
});

describe('unshared memory that is gone', () => {
  it.each([
    ['transferred', (buffer: Resizable) => structuredClone(buffer, { transfer: [buffer] })],
    ['shrunk', (buffer: Resizable) => buffer.resize(LENGTH - 1)],
  ])('is one clear error: %s', (_how, drop) => {
    const buffer = new Resizable(LENGTH, { maxByteLength: LENGTH });
    const machine = testMachine({ banks: [new SharedArrayBuffer(PAGE_SIZE), buffer] });
    const space = machine.createAddressSpace();
    space.mapFrames({ bank: 1, length: LENGTH, prot: 'rw', address: AT });
    space.fill(AT, LENGTH, 1);
    drop(buffer);
    for (const call of [
      () => space.read(AT, new Uint8Array(1)),
      () => space.fill(AT, 1, 1),
      () => space.fork(),
    ]) {
      expect(call).toThrow(/bank 1 of the machine: its memory has \d+ bytes left, expected 131072/);
      expect(codeOf(call)).toBe('BANK_UNREACHABLE');
    }
    space.munmap(AT, LENGTH); // no table is locked
    assertTablesTrue(machine);
  });
});

describe('unshared memory beside other banks', () => {
  it('has its own bytes in every bank of 2 GiB', () => {
    const large = privateMemory(0x8001);
    const shared = new SharedArrayBuffer(LENGTH);
    const machine = testMachine({ banks: [shared, large, new ArrayBuffer(LENGTH)] });
    expect(machine.banks.map(({ pfn }) => pfn / BANK_FRAMES)).toEqual([1, 2, 4]);
    const space = machine.createAddressSpace();
    const edge = { offset: 2 * GiB - PAGE_SIZE, length: 2 * PAGE_SIZE, prot: 'rw' } as const;
    space.mapFrames({ ...edge, bank: 1, address: AT });
    space.mapFrames({ bank: 2, length: PAGE_SIZE, prot: 'rw', address: AT - PAGE_SIZE });
    space.fill(AT, PAGE_SIZE, 1);
    space.fill(AT + PAGE_SIZE, PAGE_SIZE, 2);
    space.fill(AT - PAGE_SIZE, PAGE_SIZE, 3);
    const ram = new Uint8Array(large.buffer, 2 * GiB - PAGE_SIZE, 2 * PAGE_SIZE);
    expect(Buffer.compare(ram, Buffer.concat([pageOf(1), pageOf(2)]))).toBe(0);
    const there = attach(structuredClone(space.handle));
    const third = (): void => there.read(AT - PAGE_SIZE, new Uint8Array(1));
    expect(third).toThrow(/bank 2 of the machine is memory that is not shared/);
  });

  it('is given up when the machine is closed', async () => {
    const memory = privateMemory(2);
    const machine = testMachine({ banks: [memory] });
    const space = machine.createAddressSpace();
    space.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
    await machine.close();
    expect(codeOf(() => space.read(AT, new Uint8Array(1)))).toBe('MACHINE_CLOSED');
    expect(memory.buffer.byteLength).toBe(LENGTH);
  });
});

describe('the thread that owns unshared memory', () => {
  it('never blocks, since workers may wait for it', () => {
    const { handle } = testMachine({ banks: [privateMemory(1)] });
    expect(attach(handle).parts.mayBlock).toBe(false);
    expect(codeOf(() => attach(handle, { mayBlock: true }))).toBe('OPTION_INVALID');
    expect(attach(structuredClone(handle), { mayBlock: true }).parts.mayBlock).toBe(true);
    expect(attach(testMachine().handle, { mayBlock: true }).parts.mayBlock).toBe(true);
  });
});
