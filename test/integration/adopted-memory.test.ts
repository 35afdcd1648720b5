/**
 * Invariants checked: the image of an address space whose pages lie in memory of the caller is, byte
 * for byte, the image of one that has the same pages in frames of the machine, for every number of
 * workers, frozen and running, with every digest · a dump reads what the owner of the memory stored
 * last · while the owner keeps storing, every image is still valid · no dump changes or grows the
 * caller's memory
 */
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  attach,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  type Machine,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  verifyImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Memory } from '../../src/shared/wasm.ts';
import { bytesOf } from '../support/images/images.ts';

const AT = 0x7000_0000;
const LENGTH = 12 * MiB;
const PAGES = LENGTH / PAGE_SIZE;

const BANKS = [
  [
    'a WebAssembly.Memory',
    () => new Memory({ initial: LENGTH / 0x10000, maximum: 0x10000, shared: true }),
  ],
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(LENGTH)],
] as const;

/** Long runs, short runs, single pages, pages of zeros, and zeros with a last byte. */
function fill(bytes: Uint8Array): void {
  for (let page = 0; page < PAGES; page++) {
    const at = page * PAGE_SIZE;
    if (page % 7 === 3 && page % 5 !== 0) continue;
    if (page % 11 === 6) bytes[at + PAGE_SIZE - 1] = page & 0xff || 1;
    else if (page < PAGES / 2 || page % 3 !== 0) bytes.fill((page % 255) + 1, at, at + PAGE_SIZE);
  }
}

interface Guest {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly ram: Uint8Array;
}

/** Maps the memory page by page in another order where `scattered`. */
function guestOf(bank: SharedArrayBuffer | { buffer: SharedArrayBuffer }): Guest {
  const ram = new Uint8Array('buffer' in bank ? bank.buffer : bank);
  fill(ram);
  const machine = createMachine({ memory: 4 * MiB, banks: [bank] });
  const space = machine.createAddressSpace();
  space.mapFrames({ length: LENGTH, prot: 'rw', address: AT });
  return { machine, space, ram };
}

/** An ordinary machine with the same content. */
function twinOf({ ram }: Guest): AddressSpace {
  const space = createMachine({ memory: 32 * MiB }).createAddressSpace();
  space.mmap({
    length: LENGTH,
    prot: 'rw',
    address: AT,
    flags: ['private', 'anonymous', 'fixed'],
  });
  space.write(AT, ram);
  return space;
}

async function imageOf(
  dumper: Dumper,
  space: AddressSpace | AddressSpace[],
  options: Partial<DumpOptions> = {},
): Promise<Buffer> {
  const sink = memorySink();
  await dumper.dump(space, { to: sink, ...options });
  return bytesOf(sink.image);
}

describe.each(BANKS)('a dump of adopted memory: %s', (_name, bankOf) => {
  let guest: Guest;
  let twin: AddressSpace;
  beforeAll(() => {
    guest = guestOf(bankOf());
    twin = twinOf(guest);
  });

  for (const workers of [1, 2, 3]) {
    for (const freeze of [true, false]) {
      const how = `${freeze ? 'frozen' : 'running'}, ${workers} workers`;
      it(`makes the image of an ordinary machine: ${how}`, async () => {
        const dumper = await createDumper({ workers });
        const before = Uint8Array.from(guest.ram);
        try {
          for (const options of [
            { freeze },
            { freeze, zeroPages: 'copy' },
            { freeze, checksum: 'crc32', blocks: 'page' },
            { freeze, checksum: 'none' },
          ] as const) {
            const found = await imageOf(dumper, guest.space, options);
            const expected = await imageOf(dumper, twin, options);
            expect(Buffer.compare(found, expected)).toBe(0);
          }
        } finally {
          await dumper.close();
        }
        expect(Buffer.compare(before, guest.ram)).toBe(0);
      });
    }
  }
});

describe('adopted memory', () => {
  let dumper: Dumper;
  beforeAll(async () => {
    dumper = await createDumper({ workers: 2 });
  });
  afterAll(() => dumper.close());

  it('is dumped from scattered frames, several banks and swap as from one piece', async () => {
    const wasm = new Memory({ initial: 64, maximum: 64, shared: true });
    const shared = new SharedArrayBuffer(MiB);
    const half = 256;
    const machine = createMachine({ memory: 4 * MiB, swap: 2 * MiB, banks: [wasm, shared] });
    const space = machine.createAddressSpace();
    const twin = createMachine({ memory: 16 * MiB }).createAddressSpace();
    for (let page = 0; page < 3 * half; page++) {
      const address = AT + page * PAGE_SIZE;
      const prot = 'rw';
      const length = PAGE_SIZE;
      const own = { length, prot, address, flags: ['private', 'anonymous', 'fixed'] } as const;
      if (page % 3 === 0) space.mmap(own);
      else {
        const frame = (page * 37) % half; // 37 and 256 have no common factor
        const where = { bank: (page % 3) - 1, offset: frame * PAGE_SIZE };
        space.mapFrames({ ...where, length, prot, address, flags: ['fixed'] });
      }
      twin.mmap(own);
      const bytes = new Uint8Array(PAGE_SIZE).fill((page % 255) + 1);
      space.write(address, bytes);
      // Frames are mapped twice where two pages have one: the later store is what both show.
    }
    for (let page = 0; page < 3 * half; page++) {
      const bytes = new Uint8Array(PAGE_SIZE);
      space.read(AT + page * PAGE_SIZE, bytes);
      twin.write(AT + page * PAGE_SIZE, bytes);
    }
    space.madvise(AT, half * PAGE_SIZE, 'pageout');
    expect(machine.swap.free).toBeLessThan(machine.swap.total);
    for (const freeze of [true, false]) {
      const found = await imageOf(dumper, space, { freeze });
      expect(Buffer.compare(found, await imageOf(dumper, twin, { freeze }))).toBe(0);
    }
  });

  it('is dumped and restored on both sides of the border at 2 GiB', async () => {
    const memory = new Memory({ initial: 0x8010, maximum: 0x10000, shared: true });
    const length = 2 * MiB; // 1 MiB on either side
    const offset = 2048 * MiB - length / 2;
    const ram = new Uint8Array(memory.buffer, offset, length);
    const machine = createMachine({ memory: 4 * MiB, banks: [memory] });
    const space = machine.createAddressSpace();
    // The first half in order, the second half in single pages of both parts, some of them zeros.
    const pages = length / PAGE_SIZE;
    for (let page = 0; page < pages; page++) {
      const scattered = page < pages / 2 ? page + pages / 4 : (page * 5) % pages;
      const where = { offset: offset + scattered * PAGE_SIZE, address: AT + page * PAGE_SIZE };
      space.mapFrames({ ...where, length: PAGE_SIZE, prot: 'rw', flags: ['fixed'] });
      const from = scattered * PAGE_SIZE;
      if (scattered % 9 !== 0) ram.fill((scattered % 251) + 1, from, from + PAGE_SIZE);
    }
    const twin = createMachine({ memory: 16 * MiB }).createAddressSpace();
    twin.mmap({ length, prot: 'rw', address: AT, flags: ['private', 'anonymous', 'fixed'] });
    const bytes = new Uint8Array(length);
    space.read(AT, bytes);
    twin.write(AT, bytes);
    expect((await dumper.compare(space, twin)).equal).toBe(true);
    for (const freeze of [true, false]) {
      const found = await imageOf(dumper, space, { freeze });
      expect(Buffer.compare(found, await imageOf(dumper, twin, { freeze }))).toBe(0);
    }
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    const image = await openImage(sink.image);
    ram.fill(77);
    await dumper.restore(image, machine, { into: space });
    expect((await dumper.compare(space, twin)).equal).toBe(true);
    await image.close();
  });

  it('is read as its owner stored it last, by dump, estimate, compare and verify', async () => {
    const guest = guestOf(
      new Memory({ initial: LENGTH / 0x10000, maximum: 0x10000, shared: true }),
    );
    const twin = twinOf(guest);
    expect((await dumper.compare(guest.space, twin)).equal).toBe(true);
    guest.ram[5 * PAGE_SIZE + 9] = 201;
    const { equal, difference } = await dumper.compare(guest.space, twin);
    expect([equal, difference?.address]).toEqual([false, AT + 5 * PAGE_SIZE + 9]);
    const sink = memorySink();
    const estimate = await dumper.estimate(guest.space);
    const report = await dumper.dump(guest.space, { to: sink });
    expect(report.image.bytes).toBe(estimate.image.bytes);
    expect((await verifyImage(sink.image)).ok).toBe(true);
    const image = await openImage(sink.image);
    const page = new Uint8Array(16);
    await image.read(AT + 5 * PAGE_SIZE, page);
    expect(page[9]).toBe(201);
    await image.close();
  });

  it('is stored once for all address spaces that show it at one address', async () => {
    const guest = guestOf(new SharedArrayBuffer(LENGTH));
    const other = guest.machine.createAddressSpace();
    other.mapFrames({ length: LENGTH, prot: 'r', address: AT });
    const sink = memorySink();
    const report = await dumper.dump([guest.space, other], { to: sink });
    const [first, second] = report.mms;
    expect(first!.pages.copy).toBeGreaterThan(0);
    expect(second!.pages).toMatchObject({ copy: 0, clone: first!.pages.copy });
    expect((await verifyImage(sink.image)).ok).toBe(true);
  });

  it.each(BANKS)('gives valid images while its owner keeps storing: %s', async (_name, bankOf) => {
    const { machine, space, ram } = guestOf(bankOf());
    const writer = new Worker(
      `const { workerData: { buffer, started } } = require('node:worker_threads');
       const words = new Int32Array(buffer);
       const flag = new Int32Array(started);
       Atomics.store(flag, 0, 1);
       Atomics.notify(flag, 0);
       for (let round = 1; Atomics.load(flag, 1) === 0; round++) {
         for (let at = 0; at < words.length; at += 512) words[at] += round;
       }`,
      { eval: true, workerData: { buffer: ram.buffer, started: new SharedArrayBuffer(8) } },
    );
    await new Promise((resolve) => writer.once('online', resolve));
    try {
      for (const freeze of [true, false, true, false]) {
        for (const checksum of ['xxh3', 'crc32'] as const) {
          const sink = memorySink();
          await dumper.dump(space, { to: sink, freeze, checksum });
          expect((await verifyImage(sink.image)).problems).toEqual([]);
        }
      }
    } finally {
      await writer.terminate();
    }
    await machine.close();
  });

  it('does not grow, and is left alone, when its machine is dumped and closed', async () => {
    const memory = new Memory({ initial: LENGTH / 0x10000, maximum: 0x10000, shared: true });
    const guest = guestOf(memory);
    const before = Uint8Array.from(guest.ram);
    const sink = memorySink({ machine: guest.machine });
    await dumper.dump(guest.space, { to: sink });
    expect((await verifyImage(sink.image)).ok).toBe(true);
    await dumper.dump(attach(guest.space.handle), { to: memorySink() });
    await guest.machine.close();
    expect(memory.buffer.byteLength).toBe(LENGTH);
    expect(Buffer.compare(before, guest.ram)).toBe(0);
  });
});
