/**
 * Restores that leave pages in the image (`load: 'on-demand'`), and prefetches.
 *
 * Invariants checked: the machine is the same as after a restore of everything · nothing but the
 * bytes that were dumped is ever read: what has changed is an error that names the place · files
 * stay open as long as pages lie in them, and no longer, whatever ends that.
 */
import { once } from 'node:events';
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
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  fileSink,
  type Image,
  type Machine,
  MiB,
  openImage,
  PAGE_SIZE,
  type RestoreResult,
  splitSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGolden, GOLDEN_NAMES, goldenMachine } from '../support/images/golden-spaces.ts';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { BackingFile } from '../support/machine/backed.ts';
import { codeOf } from '../support/machine/machine.ts';

const AT = 0x5000_0000;
const PAGES = 1400;
const LENGTH = PAGES * PAGE_SIZE;

const folder = mkdtempSync(join(tmpdir(), 'mmdump-demand-'));
let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

let names = 0;
function newPath(): string {
  names++;
  return join(folder, `${names}.cpt`);
}

/** The byte that every page begins with. */
function valueAt(page: number): number {
  return (page % 251) + 1;
}

/** An image of one mapping, whose blocks are granules. */
async function plainImage(options: Omit<DumpOptions, 'to'> = {}): Promise<string> {
  const machine = createMachine({ memory: 16 * MiB });
  const space = machine.createAddressSpace();
  space.mmap({ address: AT, length: LENGTH, prot: 'rw', flags: [...ANON.flags, 'fixed'] });
  for (let page = 0; page < PAGES; page++) {
    space.fill(AT + page * PAGE_SIZE, PAGE_SIZE, valueAt(page));
  }
  const path = newPath();
  await dumper.dump(space, { to: fileSink(path), ...options });
  await machine.close();
  return path;
}

interface Restored extends RestoreResult {
  readonly machine: Machine;
  readonly image: Image;
  readonly space: AddressSpace;
}

async function onDemand(path: string, memory = 16 * MiB): Promise<Restored> {
  const machine = createMachine({ memory, checks: true });
  const image = await openImage(path);
  const result = await dumper.restore(image, machine, { load: 'on-demand' });
  return { ...result, machine, image, space: result.mms[0]! };
}

function byteAt(space: AddressSpace, page: number): number {
  const byte = new Uint8Array(1);
  space.read(AT + page * PAGE_SIZE, byte);
  return byte[0]!;
}

/** How many descriptors of this process lead to a file. */
function openCount(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false; // that of the folder itself, which is closed by now
    }
  }).length;
}

function overwrite(path: string, offset: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, new Uint8Array([0xee, 0xff]), 0, 2, offset);
  closeSync(fd);
}

describe('a restore on demand', () => {
  it.each(GOLDEN_NAMES)('is the same as a restore of everything: %s', async (name) => {
    const { spaces, options, parts } = createGolden(name);
    const path = newPath();
    const to = parts > 1 ? splitSink(path, { partBytes: 64 * 1024 }) : fileSink(path);
    await dumper.dump(spaces, { to, ...options });
    const image = await openImage(path);
    const loaded = await dumper.restore(image, goldenMachine());
    const machine = goldenMachine();
    const demanded = await dumper.restore(image, machine, { load: 'on-demand' });
    expect(demanded.onDemand).toBeGreaterThan(0);
    expect(demanded.pages).toBe(loaded.pages);
    expect(loaded.onDemand).toBe(0);
    const { free } = machine.memory;
    const expected = await imageOf(dumper, loaded.mms);
    expect((await imageOf(dumper, demanded.mms)).equals(expected)).toBe(true);
    expect(machine.memory.free).toBe(free); // no page was loaded for it
    for (const [at, mm] of demanded.mms.entries()) {
      expect(await dumper.compare(mm, loaded.mms[at]!)).toMatchObject({ equal: true });
    }
    await demanded.mms[0]!.prefetch();
    expect((await imageOf(dumper, demanded.mms)).equals(expected)).toBe(true);
    await image.close();
    await demanded.release();
    await machine.close();
  });

  it('takes frames for pages that are touched, and for page tables', async () => {
    const { space, machine, onDemand: left, image } = await onDemand(await plainImage());
    expect(left).toBe(PAGES);
    const { free } = machine.memory;
    expect(machine.memory.total - free).toBeLessThan(MiB);
    expect(byteAt(space, 700)).toBe(valueAt(700));
    expect(free - machine.memory.free).toBe(PAGE_SIZE);
    space.write(AT + 5, new Uint8Array([9]));
    expect(byteAt(space, 0)).toBe(valueAt(0));
    expect(free - machine.memory.free).toBe(2 * PAGE_SIZE);
    await machine.close();
    await image.close();
  });

  it('works in a machine that is smaller than the image: pages go back', async () => {
    const { space, machine, image } = await onDemand(await plainImage(), MiB);
    for (const page of [...Array(PAGES).keys(), 3, 900, 4]) {
      expect(byteAt(space, page)).toBe(valueAt(page));
    }
    space.write(AT + 7 * PAGE_SIZE, new Uint8Array([200]));
    for (let page = 100; page < PAGES; page++) expect(byteAt(space, page)).toBe(valueAt(page));
    expect(byteAt(space, 7)).toBe(200); // there is no swap: a page that was written stays
    await machine.close();
    await image.close();
  });

  it('reaches threads that were attached before', async () => {
    const path = await plainImage();
    const machine = createMachine({ memory: 16 * MiB });
    const program = new URL('../support/programs/page-reader.mjs', import.meta.url);
    const thread = new Worker(program, { workerData: { machine: machine.handle } });
    expect((await once(thread, 'message'))[0]).toBe('attached');
    const image = await openImage(path);
    await dumper.restore(image, machine, { load: 'on-demand' });
    thread.postMessage({ space: 0, address: AT + 1000 * PAGE_SIZE });
    expect((await once(thread, 'message'))[0]).toBe(valueAt(1000));
    await thread.terminate();
    await machine.close();
    await image.close();
  });

  it('is refused of an image in memory, and into an address space', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const image = await openImage(inMemory(await imageOf(dumper, space)));
    const load = 'on-demand';
    await expect(dumper.restore(image, machine, { load })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(/image in memory.*dump to a file/),
    });
    const file = await openImage(await plainImage());
    await expect(dumper.restore(file, machine, { load, into: space })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
    await file.close();
  });

  it('that fails leaves nothing', async () => {
    const path = await plainImage({ blocks: 'page' });
    const machine = createMachine({ memory: 16 * MiB, store: 64 * 1024 });
    const before = [machine.memory.free, machine.store.free];
    const image = await openImage(path);
    const load = 'on-demand';
    await expect(dumper.restore(image, machine, { load })).rejects.toMatchObject({
      code: 'ENOSPC',
    });
    const stop = new AbortController();
    const stopped = dumper.restore(image, machine, { load, signal: stop.signal });
    stop.abort();
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
    expect([machine.memory.free, machine.store.free]).toEqual(before);
    await image.close();
    expect(openCount(path)).toBe(0);
  });
});

describe('the files of a restore on demand', () => {
  it('stay open after the image was closed, until they are released', async () => {
    const path = await plainImage();
    const { space, machine, image, release } = await onDemand(path);
    await image.close();
    expect(openCount(path)).toBe(1);
    expect(byteAt(space, 3)).toBe(valueAt(3));
    const { free } = machine.store;
    await release();
    await release();
    expect(openCount(path)).toBe(0);
    expect(machine.store.free).toBeGreaterThan(free);
    expect(byteAt(space, 3)).toBe(valueAt(3));
    expect(() => byteAt(space, 4)).toThrow(/SIGBUS|released/);
    expect(codeOf(() => byteAt(space, 4))).toBe('SIGBUS');
    await expect(imageOf(dumper, space)).rejects.toMatchObject({
      code: 'INPUT_FAILED',
      fields: { mm: 0, vmaStart: AT },
      message: expect.stringContaining('released'),
    });
    await machine.close();
  });

  it('stay open if the image is not closed, and are those of the image', async () => {
    const path = await plainImage();
    const { machine, image, release } = await onDemand(path);
    await release();
    const bytes = new Uint8Array(1);
    await image.read(AT, bytes);
    expect(bytes[0]).toBe(valueAt(0));
    await image.close();
    expect(openCount(path)).toBe(0);
    await machine.close();
  });

  it('are closed with the machine', async () => {
    const path = await plainImage();
    const { machine, image, release } = await onDemand(path);
    await image.close();
    await machine.close();
    expect(openCount(path)).toBe(0);
    await release();
  });

  it('may be the backings of several restores', async () => {
    const path = await plainImage();
    const { machine, image, space, release } = await onDemand(path);
    const again = await dumper.restore(image, machine, { load: 'on-demand' });
    await image.close();
    await release();
    expect(byteAt(again.mms[0]!, 800)).toBe(valueAt(800));
    expect(codeOf(() => byteAt(space, 800))).toBe('SIGBUS');
    await again[Symbol.asyncDispose]();
    expect(openCount(path)).toBe(0);
    await machine.close();
  });
});

describe('an image that has changed', () => {
  it.each(['xxh3', 'crc32'] as const)('is found out by its digests: %s', async (checksum) => {
    const path = await plainImage({ checksum });
    const { space, machine, image } = await onDemand(path);
    const second = image.page(AT + 600 * PAGE_SIZE);
    overwrite(path, second.offset! + 100);
    expect(byteAt(space, 500)).toBe(valueAt(500)); // another block
    for (const access of ['read', 'write'] as const) {
      expect(() => {
        space[access](AT + 700 * PAGE_SIZE, new Uint8Array([1]));
      }).toThrow(
        expect.objectContaining({
          code: 'IMAGE_CHECKSUM',
          fields: expect.objectContaining({ address: AT + 700 * PAGE_SIZE, mm: 0 }),
        }),
      );
    }
    await expect(imageOf(dumper, space)).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    await expect(space.prefetch()).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    await expect(dumper.compare(space, space)).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    await machine.close();
    await image.close();
  });

  it('is found out where it was truncated', async () => {
    const path = await plainImage();
    const { space, machine, image } = await onDemand(path);
    truncateSync(path, image.page(AT + 1300 * PAGE_SIZE).offset!);
    expect(byteAt(space, 0)).toBe(valueAt(0));
    expect(() => byteAt(space, 1399)).toThrow(/truncated/);
    expect(codeOf(() => byteAt(space, 1399))).toBe('SIGBUS');
    await expect(imageOf(dumper, space)).rejects.toMatchObject({ code: 'IMAGE_TRUNCATED' });
    await machine.close();
    await image.close();
  });
});

describe('a prefetch', () => {
  it('loads what nobody has touched, of a range or of all', async () => {
    const { space, machine, image, release } = await onDemand(await plainImage());
    space.fill(AT + 10 * PAGE_SIZE, 5 * PAGE_SIZE, 7);
    const told: number[] = [];
    const onProgress = ({ pages, totalPages }: { pages: number; totalPages: number }): void => {
      told.push(pages / totalPages);
    };
    const some = { address: AT, length: 100 * PAGE_SIZE };
    expect(await space.prefetch(some, { onProgress })).toEqual({ pages: 95 });
    expect(told.at(-1)).toBe(1);
    expect(await space.prefetch()).toEqual({ pages: PAGES - 100 });
    expect(await space.prefetch()).toEqual({ pages: 0 });
    await release();
    for (let page = 0; page < PAGES; page++) {
      expect(byteAt(space, page)).toBe(page >= 10 && page < 15 ? 7 : valueAt(page));
    }
    await machine.close();
    await image.close();
  });

  it('of a thread without a dumper loads the same pages', async () => {
    const own = await createDumper({ workers: 1 });
    const machine = createMachine({ memory: 16 * MiB, checks: true });
    const image = await openImage(await plainImage());
    const { mms } = await own.restore(image, machine, { load: 'on-demand' });
    await own.close();
    const told: unknown[] = [];
    const onProgress = (progress: unknown): void => void told.push(progress);
    expect(await mms[0]!.prefetch(undefined, { onProgress })).toEqual({ pages: PAGES });
    expect(told.at(-1)).toMatchObject({ pages: PAGES, totalPages: PAGES });
    expect(byteAt(mms[0]!, 1234)).toBe(valueAt(1234));
    await machine.close();
    await image.close();
  });

  it('works for pages in a process', async () => {
    const machine = createMachine({ memory: 16 * MiB, checks: true });
    const space = machine.createAddressSpace();
    space.mmap({ address: AT, length: LENGTH, prot: 'r', flags: [...ANON.flags, 'fixed'] });
    const bytes = Uint8Array.from({ length: 600 * PAGE_SIZE }, (_, at) => (at >> 12) & 0xff);
    const file = new BackingFile(machine, bytes);
    file.map(space, AT + 3 * PAGE_SIZE, 600);
    expect(await space.prefetch()).toEqual({ pages: 600 });
    file.close();
    expect(byteAt(space, 3 + 599)).toBe(599 & 0xff);
    await machine.close();
  });

  it('stops, and says no to what it cannot do', async () => {
    const { space, machine, image } = await onDemand(await plainImage());
    const stop = new AbortController();
    const stopped = space.prefetch(undefined, { signal: stop.signal });
    stop.abort();
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
    const odd = { address: AT + 1, length: 1 };
    await expect(space.prefetch(odd)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(space.prefetch(3 as never)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await machine.close();
    await image.close();
    await expect(space.prefetch()).rejects.toMatchObject({ code: 'MACHINE_CLOSED' });
    const small = await onDemand(await plainImage(), MiB);
    await expect(small.space.prefetch()).rejects.toMatchObject({ code: 'ENOMEM' });
    expect(byteAt(small.space, 1300)).toBe(valueAt(1300));
    await small.machine.close();
    await small.image.close();
  });

  it('races safely with accesses, munmap, fork and exit', async () => {
    const path = await plainImage();
    for (let round = 0; round < 6; round++) {
      const { space, machine, image } = await onDemand(path, 32 * MiB);
      const fetched = [space.prefetch(), space.prefetch()];
      const child = await space.forkAsync();
      await space.writeAsync(AT + (300 + round * 50) * PAGE_SIZE, new Uint8Array([99]));
      await turn();
      await space.munmapAsync(AT + 900 * PAGE_SIZE, 100 * PAGE_SIZE);
      const other = child.prefetch();
      await space.mprotectAsync(AT + 1200 * PAGE_SIZE, 50 * PAGE_SIZE, '');
      await Promise.all(fetched);
      if (round % 2 === 0) await other;
      else await Promise.allSettled([child.exitAsync(), other]);
      for (let page = 0; page < PAGES; page++) {
        if (page === 300 + round * 50) expect(byteAt(space, page)).toBe(99);
        else if ((page >= 900 && page < 1000) || (page >= 1200 && page < 1250)) {
          expect(codeOf(() => byteAt(space, page))).toBe('SIGSEGV');
        } else expect(byteAt(space, page)).toBe(valueAt(page));
        if (round % 2 === 0) expect(byteAt(child, page)).toBe(valueAt(page));
      }
      await machine.close();
      await image.close();
    }
  });
});
