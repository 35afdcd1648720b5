/**
 * Reading the pages of an image.
 *
 * Invariants checked:
 * - One large read gives what reading page by page gives, and what the mm shows: across mappings,
 *   clones, zeros, holes and pages of files; from a file, from its parts and from memory; however
 *   the pages are divided into blocks; and for many reads at the same time.
 * - A damaged block is never read without an error, in whole or in part; the other blocks are still
 *   read.
 * - A closed image says that it is closed. It is closed after the last job that uses it.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  fileSink,
  type Image,
  MiB,
  memorySink,
  memoryUsage,
  openImage,
  PAGE_SIZE,
  splitSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { smallFamily } from '../support/images/hostile-seeds.ts';
import { randomOf } from '../support/images/image-mutations.ts';
import { ANON, imageOf, inMemory, smallSpace } from '../support/images/images.ts';
import { pageSlowly, readSlowly } from '../support/images/slow-image.ts';

let folder: string;
let dumper: Dumper;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-read-'));
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

/** Ranges without an unmapped or unknown page, with their bytes as the slow reader finds them. */
function knownRanges(bytes: Buffer, mm: number): { start: number; content: Buffer }[] {
  const slow = readSlowly(bytes);
  const ranges: { start: number; pages: Buffer[] }[] = [];
  let last: { start: number; pages: Buffer[] } | undefined;
  let end = 0;
  for (const vma of slow.mms[mm]!.vmas) {
    for (let at = vma.start; at < vma.end; at += PAGE_SIZE) {
      const page = pageSlowly(bytes, slow, slow.mms[mm]!, at);
      if (!(page instanceof Buffer)) continue;
      if (last === undefined || at !== end) {
        last = { start: at, pages: [] };
        ranges.push(last);
      }
      last.pages.push(page);
      end = at + PAGE_SIZE;
    }
  }
  return ranges.map(({ start, pages }) => ({ start, content: Buffer.concat(pages) }));
}

async function checkReads(image: Image, bytes: Buffer): Promise<void> {
  const random = randomOf(12, bytes.length);
  for (const { ordinal: mm } of image.mms()) {
    for (const { start, content } of knownRanges(bytes, mm)) {
      const whole = Buffer.alloc(content.length, 0xa5);
      await image.read(start, whole, { mm });
      expect(whole.equals(content)).toBe(true);
      const reads = [...Array(24)].map(async () => {
        const from = random.below(content.length);
        const into = Buffer.alloc(1 + random.below(content.length - from), 0xa5);
        await image.read(start + from, into, { mm });
        expect(into.equals(content.subarray(from, from + into.length))).toBe(true);
      });
      await Promise.all(reads);
    }
  }
}

describe('fault 12: a large read of an image', () => {
  it.each(['default', 'page', 'none'] as const)(
    'gives what the pages are, with any number of reads at the same time: %s',
    async (kind) => {
      const options = {
        default: {},
        page: { blocks: 'page' },
        none: { checksum: 'none' },
      } as const;
      for (const spaces of [
        smallFamily(),
        (await createWorkload('mixed', { size: 4 * MiB })).space,
      ]) {
        const bytes = await imageOf(dumper, spaces, options[kind]);
        await checkReads(await openImage(inMemory(bytes)), bytes);
        await checkReads(await openImage(inMemory(bytes), { cacheBytes: 0 }), bytes);
      }
    },
  );

  it('gives the same from a file, from its parts, and from memory in chunks', async () => {
    const { space } = await createWorkload('mixed', { size: 8 * MiB });
    const bytes = await imageOf(dumper, space);
    const [path, parts] = [join(folder, 'one.cpt'), join(folder, 'parts.cpt')];
    const sink = memorySink({ chunkBytes: 65_536 });
    await dumper.dump(space, { to: fileSink(path) });
    await dumper.dump(space, { to: splitSink(parts, { parts: 5 }) });
    await dumper.dump(space, { to: sink });
    for (const from of [path, parts, sink.image]) {
      const image = await openImage(from);
      await checkReads(image, bytes);
      await image.close();
    }
  });

  it('fills any view of a buffer, shared or not, and refuses what is none', async () => {
    const image = await openImage(inMemory(await imageOf(dumper, smallSpace())));
    const start = image.vmas()[1]!.start + 3 * PAGE_SIZE + 98;
    const views = [new DataView(new ArrayBuffer(16), 4, 8), new Uint16Array(4)];
    const shared = new Uint8Array(new SharedArrayBuffer(16), 4, 8);
    for (const view of [...views, shared, Buffer.alloc(8)]) {
      await image.read(start, view);
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      expect([...bytes]).toEqual([0, 0, 1, 2, 3, 0, 0, 0]);
    }
    await image.read(start, new Uint8Array(0));
    for (const wrong of [undefined, null, 8, 'text', [1, 2], new ArrayBuffer(8)]) {
      await expect(image.read(start, wrong as never)).rejects.toMatchObject({
        code: 'OPTION_INVALID',
        message: expect.stringMatching(/^into: /),
      });
    }
    for (const cacheBytes of [-1, 0.5, Number.NaN, '8' as never]) {
      const opened = openImage(inMemory(new Uint8Array(0)), { cacheBytes });
      await expect(opened).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    }
  });
});

describe('fault 12: an image in memory whose chunks hold less than it says', () => {
  it('is refused when it is opened: no buffer stays unfilled', async () => {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
    const space = machine.createAddressSpace();
    const start = space.mmap({ ...ANON, length: 4 * PAGE_SIZE });
    space.fill(start, 4 * PAGE_SIZE, 7);
    const bytes = await imageOf(dumper, space, { checksum: 'none' });
    const whole = inMemory(bytes);
    const [chunk] = whole.chunks;
    const short = { ...whole, chunks: [chunk!.subarray(0, bytes.length - 100)] };
    await expect(openImage(short)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await expect(dumper.verify(short)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });
});

describe('trial 10: a damaged byte of a page', () => {
  /** An image of 4 MiB of anonymous memory, with one changed byte in its second block. */
  async function damaged(): Promise<{ image: Image; start: number; bytes: Buffer }> {
    const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 2 });
    const space = machine.createAddressSpace();
    const start = 64 * MiB;
    space.mmap({ ...ANON, flags: [...ANON.flags, 'fixed'], address: start, length: 4 * MiB });
    space.fill(start, 4 * MiB, 7);
    const bytes = await imageOf(dumper, [space, space.fork()]);
    const good = await openImage(inMemory(bytes));
    bytes[good.page(start + 3 * MiB).offset! + 99]! ^= 1;
    const path = join(folder, 'damaged.cpt');
    writeFileSync(path, bytes);
    return { image: await openImage(path), start, bytes };
  }

  it('is IMAGE_CHECKSUM, with mm, VMA and address, however it is read', async () => {
    const { image, start, bytes } = await damaged();
    const block = start + 2 * MiB;
    const { offset } = (await openImage(inMemory(bytes))).page(block);
    const error = {
      code: 'IMAGE_CHECKSUM',
      message: expect.stringMatching(
        /damaged\.cpt': mm 0, VMA 0x4000000-0x4400000, pages 0x4200000-0x4400000, payload at byte \d+: xxh3 does not match/,
      ),
      fields: { mm: 0, vmaStart: start, vmaEnd: start + 4 * MiB, address: block, offset },
    };
    const page = new Uint8Array(PAGE_SIZE);
    for (const mm of [0, 1]) {
      const read = (at: number, into: Uint8Array) => image.read(at, into, { mm });
      await expect(read(start, new Uint8Array(4 * MiB))).rejects.toMatchObject(error);
      await expect(read(block, new Uint8Array(2 * MiB))).rejects.toMatchObject(error);
      for (const at of [block, start + 3 * MiB, start + 4 * MiB - PAGE_SIZE, block]) {
        await expect(read(at, page), at.toString(16)).rejects.toMatchObject(error);
      }
      await read(start, page);
      expect(new Set(page)).toEqual(new Set([7]));
      await read(start, new Uint8Array(2 * MiB));
    }
    await image.close();
  });

  it('is as `verify` and a restore have it', async () => {
    const { image, start, bytes } = await damaged();
    const failure: unknown = await image.read(start, new Uint8Array(4 * MiB)).catch((e) => e);
    const { problems } = await dumper.verify(inMemory(bytes));
    expect(problems).toHaveLength(1);
    expect((failure as Error).message).toContain(problems[0]!.message);
    const machine = createMachine({ memory: 16 * MiB });
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    await image.close();
  });
});

describe('a closed image', () => {
  async function opened(): Promise<Image> {
    const path = join(folder, 'closed.cpt');
    await dumper.dump(smallSpace(), { to: fileSink(path, { force: true }) });
    return await openImage(path);
  }

  it('is IMAGE_CLOSED whatever it is asked, and closing it again is nothing', async () => {
    for (const image of [
      await opened(),
      await openImage(inMemory(await imageOf(dumper, smallSpace()))),
    ]) {
      const { start } = image.vmas()[0]!;
      await image.close();
      await image.close();
      await image[Symbol.asyncDispose]();
      const closed = { code: 'IMAGE_CLOSED', message: expect.stringContaining('was closed') };
      const uses: (() => unknown)[] = [
        () => image.mms(),
        () => image.mm(),
        () => image.mmAt(72),
        () => image.vmas(),
        () => image.page(start),
        () => memoryUsage(image),
        () => image.read(start, new Uint8Array(8)),
        () => image.ldt(),
        () => image.auxv(),
        () => image.notes(),
        () => dumper.restore(image, createMachine({ memory: 4 * MiB })),
      ];
      for (const use of uses) await expect((async () => use())()).rejects.toMatchObject(closed);
    }
  });

  it('lets the reads that have begun come to their end', async () => {
    const { space } = await createWorkload('mixed', { size: 8 * MiB });
    const path = join(folder, 'reading.cpt');
    await dumper.dump(space, { to: fileSink(path) });
    const bytes = await imageOf(dumper, space);
    const image = await openImage(path);
    const ranges = knownRanges(bytes, 0);
    const reads = ranges.map(async ({ start, content }) => {
      const into = Buffer.alloc(content.length);
      await image.read(start, into);
      return into.equals(content);
    });
    const [first, second] = [image.close(), image.close()];
    await expect(image.read(ranges[0]!.start, new Uint8Array(1))).rejects.toMatchObject({
      code: 'IMAGE_CLOSED',
    });
    expect(new Set(await Promise.all(reads))).toEqual(new Set([true]));
    await Promise.all([first, second]);
  });

  it('lets a restore that was asked for come to its end: no descriptor is used again before', async () => {
    const machine = createMachine({ memory: 32 * MiB, maxAddressSpaces: 1 });
    const space = machine.createAddressSpace();
    const start = space.mmap({ ...ANON, length: 8 * MiB });
    space.fill(start, 8 * MiB, 7);
    const path = join(folder, 'restoring.cpt');
    await dumper.dump(space, { to: fileSink(path), checksum: 'none' });
    const image = await openImage(path);
    const busy = dumper.dump(space, { to: memorySink() }); // the restore waits behind this dump
    const target = createMachine({ memory: 32 * MiB, maxAddressSpaces: 1 });
    let isRestored = false;
    const restored = dumper.restore(image, target).finally(() => {
      isRestored = true;
    });
    await image.close();
    expect(isRestored).toBe(true);
    // The next file to be opened gets the descriptor number that the image had.
    const other = await open(join(folder, 'closed.cpt'), 'w+');
    const { mms } = await restored;
    await other.close();
    await busy;
    const shown = Buffer.alloc(8 * MiB);
    mms[0]!.read(start, shown);
    expect(shown.equals(Buffer.alloc(8 * MiB, 7))).toBe(true);
  });
});
