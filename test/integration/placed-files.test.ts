/**
 * Dumps of files in memory whose pages lie in a backing. An image must not tell where the pages
 * were: it equals, byte for byte, that of a machine in which the same pages are in the page cache.
 */
import {
  type AddressSpace,
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
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { imageOf } from '../support/images/images.ts';
import { BackingFile } from '../support/machine/backed.ts';

const SHARED = 0x5000_0000; //   all of the file
const PRIVATE = 0x4000_0000; //  before it: pages 100 to 1299, some of which were written
const LATE = 0x7000_0000; //     behind it: pages 1200 on
const PAGES = 1400; // more than two granules, and no whole number of them

const files: BackingFile[] = [];
afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

/** Every seventh page is zeros. */
function content(): Uint8Array {
  const bytes = new Uint8Array(PAGES * PAGE_SIZE);
  for (let page = 0; page < PAGES; page++) {
    if (page % 7 === 3) continue;
    for (let at = 0; at < 64; at++) bytes[page * PAGE_SIZE + at * 63] = page * 31 + at + 1;
  }
  return bytes;
}

/** The pages that the file has; all others are absent. The second run begins inside of a granule. */
const RUNS = [
  { index: 0, pages: 300, place: 0 },
  { index: 340, pages: 460, place: 340 },
  { index: 820, pages: 1, place: 820 },
  { index: 821, pages: 500, place: 821 },
] as const;

/** A family of two mms, of which the second is a fork that has written some pages. */
function createFamily(isBacked: boolean): { machine: Machine; spaces: AddressSpace[] } {
  const machine = createMachine({ memory: 48 * MiB });
  const space = machine.createAddressSpace();
  const bytes = content();
  const backing = isBacked ? new BackingFile(machine, bytes) : undefined;
  if (backing !== undefined) files.push(backing);
  const size = PAGES * PAGE_SIZE;
  const file =
    backing === undefined
      ? machine.createFile({ path: '/memfd:placed', memoryBacked: { size } }).id
      : backing.createFile(PAGES, RUNS);
  const map = (address: number, from: number, to: number, kind: 'shared' | 'private'): void => {
    const length = (to - from) * PAGE_SIZE;
    const offset = from * PAGE_SIZE;
    space.mmap({ address, length, prot: 'rw', flags: [kind, 'fixed'], file, offset });
  };
  map(SHARED, 0, PAGES, 'shared');
  map(PRIVATE, 100, 1300, 'private');
  map(LATE, 1200, PAGES, 'shared');
  for (const { index, pages } of backing === undefined ? RUNS : []) {
    const from = index * PAGE_SIZE;
    space.write(SHARED + from, bytes.subarray(from, from + pages * PAGE_SIZE));
  }
  const one = new Uint8Array([7]);
  for (let page = 0; page < 1200; page += 50) space.write(PRIVATE + page * PAGE_SIZE, one);
  space.write(SHARED + 500 * PAGE_SIZE, one);
  space.write(SHARED + 320 * PAGE_SIZE, one); // was absent
  const child = space.fork();
  child.write(LATE + 10 * PAGE_SIZE, one);
  child.write(PRIVATE + 7 * PAGE_SIZE, one);
  child.madvise(SHARED + 600 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  child.read(SHARED + 700 * PAGE_SIZE, new Uint8Array(40 * PAGE_SIZE));
  return { machine, spaces: [space, child] };
}

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const OPTIONS: Readonly<Record<string, Omit<DumpOptions, 'to'>>> = {
  defaults: {},
  bare: { zeroPages: 'copy', checksum: 'none' },
  'small units': { unitBytes: 2 * MiB },
  'a size limit': { sizeLimit: 64 * MiB },
  running: { freeze: false },
  'running, with a size limit': { freeze: false, sizeLimit: 64 * MiB },
};

describe('an image of files whose pages lie in a backing', () => {
  it.each(Object.entries(OPTIONS))('equals that of loaded pages: %s', async (_what, options) => {
    const loaded = createFamily(false);
    const backed = createFamily(true);
    const { free } = backed.machine.memory;
    for (const pick of [(all: AddressSpace[]) => all, (all: AddressSpace[]) => all.toReversed()]) {
      const expected = await imageOf(dumper, pick(loaded.spaces), options);
      const found = await imageOf(dumper, pick(backed.spaces), options);
      expect(Buffer.compare(found, expected)).toBe(0);
    }
    expect(backed.machine.memory.free).toBe(free);
  });

  it('is that of one mm alone, and of a machine that has read and put back pages', async () => {
    const loaded = createFamily(false);
    const backed = createFamily(true);
    for (const { machine, spaces } of [loaded, backed]) {
      spaces[0]!.read(SHARED, new Uint8Array(PAGES * PAGE_SIZE));
      spaces[1]!.read(PRIVATE, new Uint8Array(900 * PAGE_SIZE));
      machine.reclaim(700 * PAGE_SIZE);
    }
    for (const at of [0, 1]) {
      const expected = await imageOf(dumper, [loaded.spaces[at]!]);
      const found = await imageOf(dumper, [backed.spaces[at]!]);
      expect(Buffer.compare(found, expected)).toBe(0);
    }
    const expected = await imageOf(dumper, loaded.spaces);
    expect(Buffer.compare(await imageOf(dumper, backed.spaces), expected)).toBe(0);
  });

  it('is estimated and compared without the pages being loaded', async () => {
    const loaded = createFamily(false).spaces[0]!;
    const { machine, spaces } = createFamily(true);
    const { free } = machine.memory;
    const found = await dumper.estimate(spaces[0]!);
    expect(found.image.bytes).toBe((await dumper.estimate(loaded)).image.bytes);
    expect(await dumper.compare(spaces[0]!, loaded)).toMatchObject({ equal: true });
    expect(machine.memory.free).toBe(free);
    loaded.write(SHARED + 910 * PAGE_SIZE + 5, new Uint8Array([255]));
    expect(await dumper.compare(spaces[0]!, loaded)).toMatchObject({ equal: false });
  });

  it('is whole although another process writes between counting and writing', async () => {
    const { spaces } = createFamily(true);
    const [backing] = files;
    const sink = memorySink();
    const reserve = sink.reserve.bind(sink);
    // Page 351 becomes zeros and page 353, which was zeros, does not stay so.
    sink.reserve = (extent) => {
      backing!.change(351, new Uint8Array(PAGE_SIZE));
      backing!.change(353, new Uint8Array(PAGE_SIZE).fill(9));
      return reserve(extent);
    };
    await dumper.dump(spaces, { to: sink, sizeLimit: 64 * MiB });
    expect(await verifyImage(sink.image)).toMatchObject({ ok: true });
    const image = await openImage(sink.image);
    try {
      const bytes = new Uint8Array(3 * PAGE_SIZE);
      await image.read(SHARED + 351 * PAGE_SIZE, bytes, { mm: 0 });
      expect(bytes.subarray(0, PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
      expect(bytes.subarray(2 * PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
    } finally {
      await image.close();
    }
  });

  it('is not made, nor compared, if a page cannot be read: the error names it', async () => {
    const { spaces } = createFamily(true);
    files[0]!.release();
    const message = expect.stringMatching(/^mm 0, VMA 0x[0-9a-f-]+x?[0-9a-f]*: process 4000000: /);
    await expect(imageOf(dumper, spaces)).rejects.toMatchObject({ code: 'PROCESS_GONE', message });
    const loaded = createFamily(false).spaces[0]!;
    await expect(dumper.compare(spaces[0]!, loaded)).rejects.toMatchObject({
      code: 'PROCESS_GONE',
    });
  });
});
