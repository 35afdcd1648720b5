/**
 * Restores on demand of images with a parent.
 *
 * Invariants checked: pages that lie in ancestors stay there, and are what a restore of everything
 * loads · whatever has changed in an ancestor is an error that names the ancestor and the page · the
 * files of ancestors stay open as long as those of the image · pages of ancestors in memory, which
 * other threads cannot reach, are loaded.
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  fileSink,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  splitSink,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ANON, imageOf } from '../support/images/images.ts';

const AT = 0x5000_0000;
const PAGES = 1400;

let dumper: Dumper;
let folder: string;
let space: AddressSpace;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-chain-demand-'));
  space = createMachine({ memory: 16 * MiB }).createAddressSpace();
  space.mmap({ address: AT, length: PAGES * PAGE_SIZE, prot: 'rw', ...FIXED });
  for (let page = 0; page < PAGES; page++) fill(page, 1);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});
const FIXED = { flags: [...ANON.flags, 'fixed'] } as const;

/** Fills a page with a byte that says which page it is and which image of the chain has it. */
function fill(page: number, generation: number): void {
  space.fill(AT + page * PAGE_SIZE, PAGE_SIZE, valueAt(page, generation));
}

function valueAt(page: number, generation: number): number {
  return ((page * 7 + generation * 31) % 251) + 1;
}

function byteAt(of: AddressSpace, page: number): number {
  const byte = new Uint8Array(1);
  of.read(AT + page * PAGE_SIZE, byte);
  return byte[0]!;
}

/** Three images: the second one changes pages 10, 20, …, the third one pages 25, 50, … */
async function chain(options: Omit<DumpOptions, 'to'> = {}): Promise<string[]> {
  const paths = ['a.cpt', 'b.cpt', 'c.cpt'].map((name) => join(folder, name));
  await dumper.dump(space, { to: fileSink(paths[0]!), ...options });
  for (let page = 10; page < PAGES; page += 10) fill(page, 2);
  await dumpWithParent(paths[0]!, fileSink(paths[1]!), options);
  for (let page = 25; page < PAGES; page += 25) fill(page, 3);
  await dumpWithParent(paths[1]!, fileSink(paths[2]!), options);
  return paths;
}

async function dumpWithParent(
  path: string,
  to: DumpOptions['to'],
  options: Omit<DumpOptions, 'to'> = {},
): Promise<void> {
  const parent = await openImage(path);
  await dumper.dump(space, { to, parent, ...options });
  await parent.close();
}

function generationOf(page: number): number {
  if (page > 0 && page % 25 === 0) return 3;
  return page > 0 && page % 10 === 0 ? 2 : 1;
}

async function onDemand(path: string, memory = 16 * MiB) {
  const machine = createMachine({ memory, checks: true });
  const image = await openImage(path);
  const result = await dumper.restore(image, machine, { load: 'on-demand' });
  await image.close();
  return { ...result, machine, restored: result.mms[0]! };
}

/** Names of the files in the folder that this process has open. */
function openFiles(): string[] {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // that of the folder itself, which is closed by now
    }
  });
  return links.filter((link) => link.startsWith(folder)).map((link) => link.slice(-5));
}

describe('a restore on demand through a chain', () => {
  it.each([{}, { blocks: 'page' }, { checksum: 'crc32' }, { checksum: 'none' }] as const)(
    'leaves the pages in the ancestors: %j',
    async (options) => {
      const paths = await chain(options);
      const expected = await imageOf(dumper, space);
      const { machine, restored, onDemand: left, pages, release } = await onDemand(paths[2]!);
      expect([left, pages]).toEqual([PAGES, PAGES]);
      expect(machine.memory.total - machine.memory.free).toBeLessThan(MiB); // tables only
      expect(openFiles().sort()).toEqual(['a.cpt', 'b.cpt', 'c.cpt']);
      for (let page = PAGES - 1; page >= 0; page -= 3) {
        expect(byteAt(restored, page)).toBe(valueAt(page, generationOf(page)));
      }
      expect((await imageOf(dumper, restored)).equals(expected)).toBe(true);
      expect((await restored.prefetch()).pages).toBe(PAGES - Math.ceil(PAGES / 3));
      expect((await imageOf(dumper, restored)).equals(expected)).toBe(true);
      await release();
      expect(openFiles()).toEqual([]);
      await machine.close();
    },
  );

  it('works with less memory than the pages, and ends with the machine', async () => {
    const paths = await chain();
    const { machine, restored } = await onDemand(paths[2]!, MiB);
    for (let page = 0; page < PAGES; page++) {
      expect(byteAt(restored, page)).toBe(valueAt(page, generationOf(page)));
    }
    await machine.close();
    expect(openFiles()).toEqual([]);
  });

  it('reads ancestors in parts', async () => {
    const path = join(folder, 'a.cpt');
    await dumper.dump(space, { to: splitSink(path, { parts: 3 }) });
    fill(700, 2);
    await dumpWithParent(path, fileSink(join(folder, 'b.cpt')));
    const { machine, restored } = await onDemand(join(folder, 'b.cpt'));
    for (const page of [0, 699, 700, 701, PAGES - 1]) {
      expect(byteAt(restored, page)).toBe(valueAt(page, page === 700 ? 2 : 1));
    }
    await machine.close();
  });

  it('loads the pages of an ancestor in memory at once', async () => {
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    fill(700, 2);
    const path = join(folder, 'b.cpt');
    const parent = await openImage(sink.image);
    await dumper.dump(space, { to: fileSink(path), parent });
    await parent.close();
    const image = await openImage(path, { parents: [sink.image] });
    const machine = createMachine({ memory: 16 * MiB, checks: true });
    const { mms, onDemand: left } = await dumper.restore(image, machine, { load: 'on-demand' });
    expect(left).toBe(1);
    await image.close();
    for (const page of [0, 699, 700, 701]) {
      expect(byteAt(mms[0]!, page)).toBe(valueAt(page, page === 700 ? 2 : 1));
    }
    await machine.close();
  });
});

describe('an ancestor that has changed', () => {
  it.each(['xxh3', 'crc32'] as const)('is found out at the page: %s', async (checksum) => {
    const paths = await chain({ checksum });
    const middle = await openImage(paths[1]!);
    const { offset } = middle.page(AT + 640 * PAGE_SIZE);
    await middle.close();
    const { machine, restored } = await onDemand(paths[2]!);
    const fd = openSync(paths[1]!, 'r+');
    writeSync(fd, new Uint8Array([0xee, 0xff]), 0, 2, offset! + 100);
    closeSync(fd);
    expect(byteAt(restored, 639)).toBe(valueAt(639, 1));
    expect(byteAt(restored, 650)).toBe(valueAt(650, 3));
    const error = {
      code: 'IMAGE_CHECKSUM',
      message: expect.stringContaining(`image '${paths[1]}'`),
      fields: { address: AT + 640 * PAGE_SIZE, mm: 0 },
    };
    expect(() => byteAt(restored, 640)).toThrow(expect.objectContaining({ code: error.code }));
    await expect(imageOf(dumper, restored)).rejects.toMatchObject(error);
    await expect(restored.prefetch()).rejects.toMatchObject(error);
    await machine.close();
  });

  it('is found out where it was truncated', async () => {
    const paths = await chain();
    const oldest = await openImage(paths[0]!);
    const { offset } = oldest.page(AT + 1301 * PAGE_SIZE);
    await oldest.close();
    const { machine, restored } = await onDemand(paths[2]!);
    truncateSync(paths[0]!, offset!);
    expect(byteAt(restored, 1310)).toBe(valueAt(1310, 2));
    expect(() => byteAt(restored, 1301)).toThrow(/a\.cpt' was truncated/);
    await machine.close();
  });
});
