/**
 * Invariants checked: after a restore into an address space, its dump is the image again, byte for
 * byte, whatever its pages were before: pages of the caller's memory, pages of its own, swapped
 * pages, guard pages, huge pages · memory of the caller is written in place, and no page of it is
 * replaced · an image that does not fit is refused, and nothing has changed then · a damaged image
 * is found
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type Machine,
  type MemorySink,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  readPte,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Memory } from '../../src/shared/wasm.ts';
import { bytesOf } from '../support/images/images.ts';

const AT = 0x6000_0000;
const RAM = 4 * MiB;
const ROM_AT = AT + 16 * MiB;
const OWN_AT = AT + 32 * MiB;
const ANON = ['private', 'anonymous', 'fixed'] as const;

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const BANKS = [
  [
    'a WebAssembly.Memory',
    () => new Memory({ initial: RAM / 0x10000, maximum: 256, shared: true }),
  ],
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(RAM)],
] as const;

interface Guest {
  readonly machine: Machine;
  readonly space: AddressSpace;
  readonly ram: Uint8Array;
}

/** RAM in two parts, of which the second is read-only, and memory of the machine's own. */
function guestOf(bank: SharedArrayBuffer | { buffer: SharedArrayBuffer }): Guest {
  const ram = new Uint8Array('buffer' in bank ? bank.buffer : bank);
  const machine = createMachine({ memory: 24 * MiB, swap: 8 * MiB, banks: [bank] });
  const space = machine.createAddressSpace();
  space.mapFrames({ length: RAM - MiB, prot: 'rw', address: AT });
  space.mapFrames({ length: MiB, prot: 'r', offset: RAM - MiB, address: ROM_AT });
  space.mmap({ length: 6 * MiB, prot: 'rw', address: OWN_AT, flags: ANON });
  return { machine, space, ram };
}

/** Content that depends on `seed`: also which pages are zeros, absent, guards or in swap. */
function change({ space, ram, machine }: Guest, seed: number): void {
  for (let page = 0; page < RAM / PAGE_SIZE; page++) {
    const value = (page * seed) % 5 === 0 ? 0 : (page * seed) % 256;
    ram.fill(value, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  space.munmap(OWN_AT, 6 * MiB);
  space.mmap({ length: 6 * MiB, prot: 'rw', address: OWN_AT, flags: ANON });
  if (seed % 2 === 0) space.madvise(OWN_AT, 6 * MiB, 'hugepage');
  for (let page = seed; page < 1024; page += 2 + (seed % 3)) {
    space.fill(OWN_AT + page * PAGE_SIZE, PAGE_SIZE, (page + seed) % 256);
  }
  space.madvise(OWN_AT, 6 * MiB, 'nohugepage');
  space.madvise(OWN_AT + seed * MiB, 64 * PAGE_SIZE, 'guard_install');
  space.madvise(OWN_AT + 16 * PAGE_SIZE, 16 * PAGE_SIZE, 'pageout');
  if (seed % 2 === 1) machine.reclaim(MiB);
}

async function dumped(space: AddressSpace, options: object = {}): Promise<MemorySink> {
  const sink = memorySink();
  await dumper.dump(space, { to: sink, ...options });
  return sink;
}

async function codeOf(action: Promise<unknown>): Promise<string> {
  return action.then(
    () => 'nothing',
    (error: { code?: string }) => error.code ?? String(error),
  );
}

/** The frames that the leaves of the guest's RAM show. */
function framesOf(space: AddressSpace): number[] {
  return Array.from({ length: 512 }, (_, page) => readPte(space, AT + page * PAGE_SIZE).pfn);
}

describe.each(BANKS)('a restore into an address space with %s', (_name, bankOf) => {
  it.each([
    ['xxh3', {}],
    ['crc32', { checksum: 'crc32', blocks: 'page' }],
    ['no checksum', { checksum: 'none', zeroPages: 'copy' }],
  ])('brings back what was dumped, in place: %s', async (_how, options) => {
    const guest = guestOf(bankOf());
    const { machine, space, ram } = guest;
    change(guest, 1);
    space.modifyLdt({ entryNumber: 3, baseAddr: 0, limit: 5 });
    const frames = framesOf(space);
    const before = Uint8Array.from(ram);
    const first = await dumped(space, options);
    const image = await openImage(first.image);
    for (const seed of [2, 3]) {
      change(guest, seed);
      space.modifyLdt({ entryNumber: seed, baseAddr: 0, limit: seed });
      space.setNotes(new Uint8Array([seed]));
      const report = await dumper.restore(image, machine, { into: space });
      expect(report.mms).toEqual([space]);
      expect(Buffer.compare(ram, before)).toBe(0);
      expect(framesOf(space)).toEqual(frames);
      const again = bytesOf((await dumped(space, options)).image);
      expect(Buffer.compare(again, bytesOf(first.image))).toBe(0);
    }
    await image.close();
    space.exit();
    expect(Buffer.compare(ram, before)).toBe(0);
  });

  it('finds a damaged page, and says so', async () => {
    const guest = guestOf(bankOf());
    change(guest, 1);
    const { image: bytes } = await dumped(guest.space);
    const opened = await openImage(bytes);
    const offset = opened.page(AT + 7 * PAGE_SIZE).offset!;
    bytes.chunks[0]![offset + 100]! ^= 1;
    const into = dumper.restore(opened, guest.machine, { into: guest.space });
    expect(await codeOf(into)).toBe('IMAGE_CHECKSUM');
    bytes.chunks[0]![offset + 100]! ^= 1;
    await dumper.restore(opened, guest.machine, { into: guest.space });
    await opened.close();
  });
});

describe('what a restore into an address space refuses', () => {
  it('takes only the same mappings, of private anonymous memory, of one mm and one machine', async () => {
    const guest = guestOf(new SharedArrayBuffer(RAM));
    const { machine, space, ram } = guest;
    change(guest, 1);
    const before = Uint8Array.from(ram);
    const image = await openImage((await dumped(space)).image);
    const two = await openImage(
      await (async () => {
        const sink = memorySink();
        await dumper.dump([space, space.fork()], { to: sink });
        return sink.image;
      })(),
    );
    ram.fill(9);
    const refused = async (into: AddressSpace, from = image): Promise<void> => {
      expect(await codeOf(dumper.restore(from, machine, { into }))).toBe('OPTION_INVALID');
      expect(ram.every((byte) => byte === 9)).toBe(true);
    };
    await refused(machine.createAddressSpace());
    await refused(space, two);
    await refused(guestOf(new SharedArrayBuffer(RAM)).space);
    space.mprotect(AT, PAGE_SIZE, 'r');
    await refused(space);
    space.mprotect(AT, PAGE_SIZE, 'rw');
    const file = machine.createFile({ path: '/f', content: new Uint8Array(PAGE_SIZE) });
    const mapped = space.mmap({ length: PAGE_SIZE, prot: 'r', flags: ['private'], file: file.id });
    const other = await openImage((await dumped(space)).image);
    await refused(space);
    await refused(space, other);
    space.munmap(mapped, PAGE_SIZE);
    await dumper.restore(image, machine, { into: space });
    expect(Buffer.compare(ram, before)).toBe(0);
    for (const each of [image, two, other]) await each.close();
  });
});
