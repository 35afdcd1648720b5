/**
 * Dumps of pages that lie in a backing. An image must not tell where the pages were: it equals, byte
 * for byte, that of a machine in which the same pages are in frames.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  type Machine,
  MiB,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { imageOf } from '../support/images/images.ts';
import { BackingFile } from '../support/machine/backed.ts';

const BASE = 0x5000_0000;
const PAGES = 1400; // more than two granules, and no whole number of them
const ANON = ['private', 'anonymous', 'fixed'] as const;

const files: BackingFile[] = [];
afterEach(() => {
  for (const file of files.splice(0)) file.close();
});

/** Pages with content; every seventh is zero, and so are pages 600 to 650. */
function content(): Uint8Array {
  const bytes = new Uint8Array(PAGES * PAGE_SIZE);
  for (let page = 0; page < PAGES; page++) {
    if (page % 7 === 3 || (page >= 600 && page < 650)) continue;
    for (let at = 0; at < 64; at++) bytes[page * PAGE_SIZE + at * 63] = page * 31 + at + 1;
  }
  return bytes;
}

/** Which pages lie in the backing where there is one: three runs, not all in order. */
const RUNS = [
  { first: 0, pages: 500 },
  { first: 520, pages: 300 },
  { first: 900, pages: 500 },
] as const;

/** An address space with the content, in frames or mostly in a backing. */
function createSpace(isBacked: boolean): { machine: Machine; space: AddressSpace } {
  const machine = createMachine({ memory: 32 * MiB });
  const space = machine.createAddressSpace();
  space.mmap({ address: BASE, length: PAGES * PAGE_SIZE, prot: 'rw', flags: ANON });
  const bytes = content();
  const file = isBacked ? new BackingFile(machine, bytes) : undefined;
  if (file !== undefined) files.push(file);
  let next = 0;
  for (const { first, pages } of [...RUNS, { first: PAGES, pages: 0 }]) {
    const gap = bytes.subarray(next * PAGE_SIZE, first * PAGE_SIZE);
    if (gap.length > 0) space.write(BASE + next * PAGE_SIZE, gap);
    const own = bytes.subarray(first * PAGE_SIZE, (first + pages) * PAGE_SIZE);
    if (file !== undefined) file.map(space, BASE + first * PAGE_SIZE, pages, first);
    else if (own.length > 0) space.write(BASE + first * PAGE_SIZE, own);
    next = first + pages;
  }
  return { machine, space };
}

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const OPTIONS: Readonly<Record<string, Omit<DumpOptions, 'to'>>> = {
  defaults: {},
  bare: { zeroPages: 'copy', checksum: 'none' },
  'crc32, a block per page': { checksum: 'crc32', blocks: 'page' },
  'small units': { unitBytes: 2 * MiB },
  'a size limit': { sizeLimit: 64 * MiB },
  running: { freeze: false },
  'running, with a size limit': { freeze: false, sizeLimit: 64 * MiB },
  'running, bare, with a size limit': {
    freeze: false,
    sizeLimit: 64 * MiB,
    zeroPages: 'copy',
    checksum: 'none',
  },
};

describe('an image of backed pages', () => {
  it.each(Object.entries(OPTIONS))('equals that of pages in frames: %s', async (_what, options) => {
    const ordinary = await imageOf(dumper, [createSpace(false).space], options);
    const found = await imageOf(dumper, [createSpace(true).space], options);
    expect(Buffer.compare(found, ordinary)).toBe(0);
  });

  it.each([1, 3])('is the same for every number of workers: %i', async (workers) => {
    const ordinary = await imageOf(dumper, [createSpace(false).space]);
    const own = await createDumper({ workers });
    try {
      const found = await imageOf(own, [createSpace(true).space]);
      expect(Buffer.compare(found, ordinary)).toBe(0);
    } finally {
      await own.close();
    }
  });

  it.each([
    ['bare', { zeroPages: 'copy', checksum: 'none' }],
    ['defaults', {}],
  ] as const)('is read again by the pass after a counting pass: %s', async (_what, mode) => {
    // One worker and three units: when the second pass begins, the buffer holds the last unit.
    const options = { freeze: false, sizeLimit: 64 * MiB, unitBytes: 2 * MiB, ...mode };
    const own = await createDumper({ workers: 1 });
    try {
      const ordinary = await imageOf(own, [createSpace(false).space], options);
      const found = await imageOf(own, [createSpace(true).space], options);
      expect(Buffer.compare(found, ordinary)).toBe(0);
    } finally {
      await own.close();
    }
  });

  it('takes no frame of the machine', async () => {
    const { machine, space } = createSpace(true);
    const { free } = machine.memory;
    await imageOf(dumper, [space]);
    expect(machine.memory.free).toBe(free);
  });

  it('has the pages of a fork once, whichever mm has touched them', async () => {
    const families = [false, true].map((isBacked) => {
      const { space } = createSpace(isBacked);
      const child = space.fork();
      const one = new Uint8Array([7]);
      child.write(BASE + 2 * PAGE_SIZE, one);
      space.write(BASE + 950 * PAGE_SIZE, one);
      return [space, child];
    });
    const [ordinary, backed] = [
      await imageOf(dumper, families[0]!),
      await imageOf(dumper, families[1]!),
    ];
    expect(Buffer.compare(backed, ordinary)).toBe(0);
  });

  it('has them once although one mm has read them, and although they were put back', async () => {
    const families = [false, true].map((isBacked) => {
      const { machine, space } = createSpace(isBacked);
      const child = space.fork();
      const bytes = new Uint8Array(PAGE_SIZE);
      for (let page = 0; page < PAGES; page += 3) space.read(BASE + page * PAGE_SIZE, bytes);
      for (let page = 0; page < PAGES; page += 5) child.read(BASE + page * PAGE_SIZE, bytes);
      const grandchild = child.fork();
      grandchild.write(BASE + 3 * PAGE_SIZE, new Uint8Array([7]));
      machine.reclaim(300 * PAGE_SIZE);
      for (let page = 0; page < PAGES; page += 7) child.read(BASE + page * PAGE_SIZE, bytes);
      return [grandchild, space, child];
    });
    const [ordinary, backed] = [
      await imageOf(dumper, families[0]!),
      await imageOf(dumper, families[1]!),
    ];
    expect(Buffer.compare(backed, ordinary)).toBe(0);
  });

  it('is estimated and compared without the pages being loaded', async () => {
    const { machine, space } = createSpace(true);
    const { free } = machine.memory;
    const ordinary = createSpace(false).space;
    const found = await dumper.estimate(space);
    const expected = await dumper.estimate(ordinary);
    expect(found.image.bytes).toBe(expected.image.bytes);
    expect(await dumper.compare(space, ordinary)).toMatchObject({ equal: true });
    expect(machine.memory.free).toBe(free);
    ordinary.write(BASE + 910 * PAGE_SIZE + 5, new Uint8Array([255]));
    expect(await dumper.compare(space, ordinary)).toMatchObject({
      equal: false,
      difference: { address: BASE + 910 * PAGE_SIZE + 5 },
    });
  });

  it('is not made if a page cannot be read: the error names it', async () => {
    const { space } = createSpace(true);
    files[0]!.release();
    await expect(imageOf(dumper, [space])).rejects.toMatchObject({
      code: 'PROCESS_GONE',
      fields: { mm: 0, address: expect.any(Number), pid: 4_000_000 },
      message: expect.stringMatching(
        /^mm 0, VMA 0x50000000-0x50578000: process 4000000: .*released/,
      ),
    });
  });
});
