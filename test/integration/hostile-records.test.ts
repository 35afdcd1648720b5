/** Images that the reader's fuzzer found, one test each, and limits on what a reader keeps. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { createDumper, createMachine, type Dumper, MiB, openImage, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { smallFamily } from '../support/images/hostile-seeds.ts';
import { seal } from '../support/images/image-mutations.ts';
import { headRecord, imageOf, inMemory, mmRecord, smallSpace } from '../support/images/images.ts';
import { Refused, readSlowly } from '../support/images/slow-image.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

const MM = { type: 1, bytes: 136, crcAt: 128 };
const VMA = { type: 1024, bytes: 96, crcAt: 88 };
const PAGES = { type: 4098, bytes: 48, crcAt: 40 };
const COPYPAGES = { type: 4099, bytes: 48, crcAt: 40 };
const NAME = { type: 4102, bytes: 48, crcAt: 40 };
const FILE_PAGES = 4;

/** Returns the offsets of all records of one type. */
function recordsOf(bytes: Buffer, { type }: { type: number }): number[] {
  const found: number[] = [];
  for (let at = 72; at < bytes.length; at += Number(bytes.readBigUInt64LE(at))) {
    if (bytes.readUInt32LE(at + 8) === type) found.push(at);
  }
  return found;
}

function readsSlowly(bytes: Buffer): boolean {
  try {
    readSlowly(bytes);
    return true;
  } catch (error) {
    if (error instanceof Refused) return false;
    throw error;
  }
}

async function expectRefused(bytes: Buffer, code: string, message: string): Promise<void> {
  await expect(openImage(inMemory(bytes))).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message),
  });
  const { ok, problems } = await dumper.verify(inMemory(bytes));
  expect(ok).toBe(false);
  expect(problems[0]).toMatchObject({ code, message: expect.stringContaining(message) });
}

describe('a record that contradicts the format', () => {
  it.each([
    ['MM', MM],
    ['VMA', VMA],
    ['COPYPAGES', COPYPAGES],
  ])('is a %s with a payload, which no checksum covers', async (_name, shape) => {
    const good = await imageOf(dumper, smallFamily());
    // Take the last record of its kind, because no COPYPAGES points behind it.
    const at = recordsOf(good, shape).at(-1)! + shape.bytes;
    const bytes = Buffer.concat([good.subarray(0, at), Buffer.alloc(8, 1), good.subarray(at)]);
    bytes.writeBigUInt64LE(BigInt(shape.bytes + 8), at - shape.bytes);
    seal(bytes, at - shape.bytes, shape.bytes, shape.crcAt);
    bytes.writeBigUInt64LE(BigInt(bytes.length), 24);
    seal(bytes, 0, 72, 64);
    await expectRefused(bytes, 'IMAGE_CORRUPT', '8 bytes follow, which no checksum covers');
  });

  it('is a NAME whose path is damaged: opening already uses it', async () => {
    const bytes = await imageOf(dumper, smallSpace());
    bytes[recordsOf(bytes, NAME)[0]! + NAME.bytes + 1]! ^= 1;
    await expectRefused(bytes, 'IMAGE_CHECKSUM', 'payload_crc does not match its path');
  });

  it.each<[string, string, (vma: Buffer) => void]>([
    [
      'in the last page below 2^47, which no process can map',
      'is not a range of pages',
      (vma) => {
        vma.writeBigUInt64LE(2n ** 47n, 48);
      },
    ],
    [
      'with a pgoff beyond any file',
      'beyond any file',
      (vma) => {
        vma.writeBigUInt64LE(2n ** 52n - 1n, 72);
      },
    ],
    [
      'that is shared and may not be',
      'VM_SHARED is set without VM_MAYSHARE',
      (vma) => {
        vma.writeUInt32LE((vma.readUInt32LE(56) & ~0x80) | 8, 56);
      },
    ],
  ])('is a VMA %s', async (_name, message, change) => {
    const bytes = await imageOf(dumper, smallSpace());
    const at = recordsOf(bytes, VMA).at(-1)!;
    change(bytes.subarray(at, at + VMA.bytes));
    seal(bytes, at, VMA.bytes, VMA.crcAt);
    await expectRefused(bytes, 'IMAGE_CORRUPT', message);
  });

  it.each([
    ['a version that is not known', 'version 3, expected 1 or 2', 6, 3],
    ['a digest that is not known', 'digest 3, expected 0 to 2', 40, 3],
  ])('is a head with %s', async (_name, message, at, value) => {
    const bytes = await imageOf(dumper, smallSpace());
    bytes.writeUInt16LE(value, at);
    seal(bytes, 0, 72, 64);
    await expectRefused(bytes, 'IMAGE_VERSION', message);
  });

  it('is a head with a parent that is not there', async () => {
    const bytes = await imageOf(dumper, smallSpace());
    bytes.writeUInt16LE(1, 56);
    seal(bytes, 0, 72, 64);
    await expectRefused(bytes, 'IMAGE_PARENT_MISSING', '00000000000000000100000000000000');
  });

  it('is a page in the parent of an image that has none', async () => {
    const bytes = await imageOf(dumper, smallSpace());
    const at = recordsOf(bytes, PAGES).find((record) => bytes.readUInt16LE(record + 14) === 0)!;
    bytes.writeUInt32LE(9, at + 44);
    seal(bytes, at, PAGES.bytes, PAGES.crcAt);
    await expectRefused(bytes, 'IMAGE_CORRUPT', 'the file head names none');
  });

  it('is a page of a file in a mapping that has none', async () => {
    const bytes = await imageOf(dumper, smallSpace());
    const at = recordsOf(bytes, PAGES).at(-1)!;
    bytes.writeUInt32LE(bytes.readUInt32LE(at + 44) | FILE_PAGES, at + 44);
    seal(bytes, at, PAGES.bytes, PAGES.crcAt);
    await expectRefused(bytes, 'IMAGE_CORRUPT', 'pages of a file, which this mapping cannot have');
  });

  it('does not keep verify from the pages: counts that are wrong at the end', async () => {
    const bytes = await imageOf(dumper, smallSpace());
    bytes.writeUInt32LE(2, 32);
    seal(bytes, 0, 72, 64);
    const { offset } = recordsOf(bytes, PAGES)
      .map((at) => ({ offset: at + PAGES.bytes, isData: bytes.readUInt16LE(at + 14) === 2 }))
      .find(({ isData }) => isData)!;
    bytes[offset]! ^= 1;
    const { problems } = await dumper.verify(inMemory(bytes));
    expect(problems.map(({ code }) => code)).toEqual(['IMAGE_CORRUPT', 'IMAGE_CHECKSUM']);
    expect(problems[1]).toMatchObject({ offset });
  });
});

describe('a guard page of one mapping', () => {
  it('does not hide what another mapping of the file stores behind it', async () => {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 3, store: MiB });
    const length = 2 * PAGE_SIZE;
    const file = machine.createFile({ path: '/memfd:two', memoryBacked: { size: length } });
    const map = { prot: 'rw', flags: ['shared'], file: file.id, length } as const;
    const [owner, reader, guarded] = [0, 1, 2].map(() => machine.createAddressSpace());
    const [stored, shown, hidden] = [owner!, reader!, guarded!].map((space) => space.mmap(map));
    owner!.fill(stored!, length, 7);
    guarded!.madvise(hidden!, PAGE_SIZE, 'guard_install');
    const bytes = await imageOf(dumper, [owner!, reader!, guarded!]);
    const image = await openImage(inMemory(bytes));
    expect(image.page(hidden!, { mm: 2 }).kind).toBe('guard');
    expect(image.page(shown!, { mm: 1 }).kind).toBe('absent');
    const page = new Uint8Array(PAGE_SIZE);
    await image.read(shown!, page, { mm: 1 });
    expect(new Set(page)).toEqual(new Set([7]));
    await expect(image.read(hidden!, page, { mm: 2 })).rejects.toMatchObject({
      code: 'PAGE_ABSENT',
    });
  });
});

describe('fault 8: a page of a file that is stored twice', () => {
  const FILE_PAGES_MAPPED = 2;

  /**
   * An image with two mappings of a file, in one mm or in two, that store two pages each. Returns
   * its bytes and the offset of the second mapping.
   */
  async function twoOwners(
    isOneMm: boolean,
    options = {},
  ): Promise<{ bytes: Buffer; vma: number }> {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 2, store: MiB });
    const length = FILE_PAGES_MAPPED * PAGE_SIZE;
    const file = machine.createFile({ path: '/memfd:two', memoryBacked: { size: 2 * length } });
    const first = machine.createAddressSpace();
    const second = isOneMm ? first : machine.createAddressSpace();
    const map = { prot: 'rw', flags: ['shared'], file: file.id, length } as const;
    // The second mapping lies below the first, so if both are in one mm it comes first in the
    // image.
    first.fill(first.mmap(map), length, 7);
    second.fill(second.mmap({ ...map, offset: length }), length, 8);
    const bytes = await imageOf(dumper, isOneMm ? [first] : [first, second], options);
    const vma = recordsOf(bytes, VMA).find((at) => bytes.readUInt32LE(at + 72) === 2)!;
    return { bytes, vma };
  }

  /** Moves the begin of the second mapping to another page of the file. */
  function setPgoff(bytes: Buffer, vma: number, pgoff: bigint): void {
    bytes.writeBigUInt64LE(pgoff, vma + 72);
    seal(bytes, vma, VMA.bytes, VMA.crcAt);
  }

  it.each([
    ['in one mm', true, {}],
    ['in two mms', false, {}],
    ['in two mms, without checksums', false, { checksum: 'none' }],
  ])(
    'is IMAGE_CORRUPT for openImage, verify and so for a restore: %s',
    async (_name, one, options) => {
      const { bytes, vma } = await twoOwners(one, options);
      expect((await dumper.verify(inMemory(bytes))).ok).toBe(true);
      for (const pgoff of [0n, 1n]) {
        setPgoff(bytes, vma, pgoff);
        const message = `page ${pgoff} of /memfd:two, at 0x`;
        await expectRefused(bytes, 'IMAGE_CORRUPT', message);
        expect(readsSlowly(bytes)).toBe(false);
      }
      setPgoff(bytes, vma, 4n);
      expect(readsSlowly(bytes)).toBe(true);
      expect((await dumper.verify(inMemory(bytes))).ok).toBe(true);
    },
  );

  it('is IMAGE_CORRUPT in a private mapping, too, where it holds the page of the file', async () => {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1, store: MiB });
    const space = machine.createAddressSpace();
    const content = new Uint8Array(4 * PAGE_SIZE).fill(7);
    const file = machine.createFile({ path: '/tmp/gone', content });
    const map = { prot: 'rw', flags: ['private'], file: file.id, length: PAGE_SIZE } as const;
    const [one, two] = [space.mmap(map), space.mmap({ ...map, offset: 2 * PAGE_SIZE })];
    for (const at of [one, two]) space.read(at, new Uint8Array(1));
    file.unlink();
    const bytes = await imageOf(dumper, space);
    const vma = recordsOf(bytes, VMA).find((at) => bytes.readUInt32LE(at + 72) === 2)!;
    setPgoff(bytes, vma, 0n);
    await expectRefused(bytes, 'IMAGE_CORRUPT', 'page 0 of /tmp/gone (deleted)');
    // As an mm's own page, as after a write, it is not the file's page, so nothing is stored twice.
    const pages = recordsOf(bytes, PAGES).find((at) => at > vma)!;
    bytes.writeUInt32LE(bytes.readUInt32LE(pages + 44) & ~FILE_PAGES, pages + 44);
    seal(bytes, pages, PAGES.bytes, PAGES.crcAt);
    expect(await dumper.verify(inMemory(bytes))).toMatchObject({ ok: true });
  });

  it('is named for every block that stores one again; their payloads are still checked', async () => {
    const { bytes, vma } = await twoOwners(false, { blocks: 'page' });
    setPgoff(bytes, vma, 0n);
    const again = recordsOf(bytes, PAGES).filter((at) => at > vma);
    expect(again).toHaveLength(FILE_PAGES_MAPPED);
    bytes[again[1]! + PAGES.bytes]! ^= 1;
    const { problems } = await dumper.verify(inMemory(bytes));
    expect(problems.map(({ code, offset }) => [code, offset])).toEqual([
      ['IMAGE_CORRUPT', again[0]],
      ['IMAGE_CORRUPT', again[1]],
      ['IMAGE_CHECKSUM', again[1]! + PAGES.bytes],
    ]);
  });

  it('may have the largest page number of all: what verifies is restored', async () => {
    const { bytes, vma } = await twoOwners(false);
    setPgoff(bytes, vma, 2n ** 52n - BigInt(FILE_PAGES_MAPPED));
    expect((await dumper.verify(inMemory(bytes))).ok).toBe(true);
    const target = createMachine({ memory: 8 * MiB, maxAddressSpaces: 2 });
    const { free } = target.memory;
    const { mms } = await dumper.restore(await openImage(inMemory(bytes)), target);
    for (const space of mms) target.destroyAddressSpace(space);
    expect(target.memory.free).toBe(free);
  });
});

describe('what a reader keeps in memory', () => {
  /**
   * An mm with many mappings of one page, each with a zero block. If `hasNames`, each of them maps
   * a file with a name of its own.
   */
  function manyRecords(count: number, hasNames: boolean): Buffer {
    const parts: Buffer[] = [];
    for (let index = 0; index < count; index++) {
      const start = BigInt(0x10_0000 + index * 2 * PAGE_SIZE);
      const vma = record(VMA, 1, VMA.bytes);
      vma.writeBigUInt64LE(hasNames ? 0n : 0xffff_ffff_ffff_ffffn, 16);
      vma.writeUInt32LE(hasNames ? 1 : 0, 24);
      vma.writeBigUInt64LE(start, 40);
      vma.writeBigUInt64LE(start + 4096n, 48);
      vma.writeBigUInt64LE(1n, 80);
      seal(vma, 0, VMA.bytes, VMA.crcAt);
      parts.push(vma);
      if (hasNames) parts.push(...named(index));
      const pages = record(PAGES, 0, PAGES.bytes);
      pages.writeBigUInt64LE(start, 16);
      pages.writeBigUInt64LE(start + 4096n, 24);
      seal(pages, 0, PAGES.bytes, PAGES.crcAt);
      parts.push(pages);
    }
    const mm = mmRecord();
    mm.writeBigUInt64LE(BigInt(count), 120);
    seal(mm, 0, MM.bytes, MM.crcAt);
    const bytes = 72 + [mm, ...parts].reduce((sum, { length }) => sum + length, 0);
    return Buffer.concat([headRecord(bytes, 1), mm, ...parts]);
  }

  function named(index: number): Buffer[] {
    const path = Buffer.alloc(2048);
    path.write(`/${String(index).padStart(2000, 'x')}`);
    const name = record(NAME, 3, NAME.bytes + path.length);
    name.writeBigUInt64LE(BigInt(index + 1), 16);
    name.writeUInt32LE(crc32(path), 36);
    seal(name, 0, NAME.bytes, NAME.crcAt);
    return [name, path];
  }

  function record(shape: { type: number; bytes: number }, content: number, length: number): Buffer {
    const header = Buffer.alloc(shape.bytes);
    header.writeBigUInt64LE(BigInt(length), 0);
    header.writeUInt32LE(shape.type, 8);
    header.writeUInt16LE(shape.bytes, 12);
    header.writeUInt16LE(content, 14);
    return header;
  }

  const tooLarge = {
    code: 'IMAGE_TOO_LARGE',
    message: expect.stringContaining("raise 'maxIndexBytes'"),
  };

  it.each([
    ['mappings', 3000, false],
    ['names', 400, true],
  ])('is bounded by maxIndexBytes: an image of many %s', async (_name, count, hasNames) => {
    const image = inMemory(manyRecords(count, hasNames));
    expect((await openImage(image)).vmas()).toHaveLength(count);
    expect(await dumper.verify(image)).toMatchObject({ ok: true, pages: count });
    await expect(openImage(image, { maxIndexBytes: MiB })).rejects.toMatchObject(tooLarge);
    await expect(dumper.verify(image, { maxIndexBytes: MiB })).rejects.toMatchObject(tooLarge);
    await expect(openImage(image, { maxIndexBytes: 0 })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
  });

  it('is bounded for blocks, too', async () => {
    const space = createMachine({ memory: 64 * MiB, maxAddressSpaces: 1 }).createAddressSpace();
    const map = { prot: 'rw', flags: ['private', 'anonymous'] } as const;
    const at = space.mmap({ ...map, length: 8 * MiB });
    space.fill(at, 8 * MiB, 1);
    const image = inMemory(await imageOf(dumper, space, { blocks: 'page' }));
    const maxIndexBytes = 40_000; // room for the mm and its VMA, but not for the 2048 blocks
    await expect(openImage(image, { maxIndexBytes })).rejects.toMatchObject(tooLarge);
    expect((await openImage(image, { maxIndexBytes: 80_000 })).mms()).toHaveLength(1);
    // Verifying also keeps a table of the payloads.
    await expect(dumper.verify(image, { maxIndexBytes: 80_000 })).rejects.toMatchObject(tooLarge);
    expect((await dumper.verify(image, { maxIndexBytes: 200_000 })).ok).toBe(true);
  });

  it('is what the budget counts, or less', async () => {
    const bytes = manyRecords(20_000, true);
    const script = `
      const { openImage } = await import('mmdump');
      const into = new Uint8Array(new SharedArrayBuffer(${bytes.length}));
      const { readSync } = await import('node:fs');
      for (let at = 0; at < into.length; ) {
        at += readSync(0, into, at, into.length - at);
      }
      const image = { bytes: ${bytes.length}, chunks: [into], chunkBytes: 2 ** 31 };
      const used = () => { gc(); const { heapUsed, external, arrayBuffers } = process.memoryUsage();
        return heapUsed + external; };
      const before = used();
      const open = await openImage(image);
      console.log(used() - before, open.vmas().length);`;
    const args = ['--expose-gc', '--input-type=module', '-e', script];
    const output = execFileSync(process.execPath, args, { input: bytes, encoding: 'utf8' });
    const [held, vmas] = output.split(' ').map(Number);
    expect(vmas).toBe(20_000);
    // What the budget counts: a VMA, a file and its path, a block.
    const counted = 20_000 * (1024 + 1024 + 3 * 2001 + 2 * 25);
    expect(held).toBeLessThan(counted);
    await expect(openImage(inMemory(bytes), { maxIndexBytes: held! })).rejects.toMatchObject(
      tooLarge,
    );
  });

  it('is bounded for pages of files, each in a granule of its own', () => {
    const script = `
      const { FilePages } = await import('./src/main/image/index/file-pages.ts');
      const { IndexBudget } = await import('./src/main/image/index/index-budget.ts');
      const used = () => { gc(); const { heapUsed, external } = process.memoryUsage();
        return heapUsed + external; };
      const before = used();
      const budget = new IndexBudget('image');
      const pages = new FilePages(budget);
      for (let file = 1; file <= 2000; file++) pages.add(file, 2 ** 50 + file, 1, 3, 2 ** 33 + file);
      for (let page = 0; page < 40_000; page++) pages.add(1, 2 ** 51 + page * 512, 1, 3, page);
      for (let page = 0; page < 40_000; page += 2) pages.add(2, 2 ** 51 + page, 1, 3, 2 ** 34);
      console.log(used() - before, budget.used, pages.find(1, 2 ** 51)?.vpn);`;
    const args = ['--import', 'tsx', '--expose-gc', '--input-type=module', '-e', script];
    const output = execFileSync(process.execPath, args, { encoding: 'utf8' });
    const [held, counted, vpn] = output.split(' ').map(Number);
    expect(vpn).toBe(0);
    expect(held).toBeLessThan(counted!);
  });

  it('is bounded for problems: the rest is counted', async () => {
    const bytes = manyRecords(500, false);
    for (const at of recordsOf(bytes, PAGES)) bytes[at + 20]! ^= 1;
    const all = await dumper.verify(inMemory(bytes));
    expect(all.problems).toHaveLength(500);
    expect(all.unlisted).toBe(0);
    const few = await dumper.verify(inMemory(bytes), { maxProblems: 7 });
    expect(few.ok).toBe(false);
    expect(few.problems).toEqual(all.problems.slice(0, 7));
    expect(few.unlisted).toBe(493);
    await expect(dumper.verify(inMemory(bytes), { maxProblems: 0 })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
  });
});

describe('a restore', () => {
  it('refuses many copies of few bytes before it lists them', async () => {
    const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 8 });
    const parent = machine.createAddressSpace();
    const map = { prot: 'rw', flags: ['private', 'anonymous'] } as const;
    const at = parent.mmap({ ...map, length: MiB });
    parent.fill(at, MiB, 3);
    const spaces = [parent, ...Array.from({ length: 7 }, () => parent.fork())];
    const bytes = await imageOf(dumper, spaces);
    const image = await openImage(inMemory(bytes));
    // Move the clones elsewhere in the anonymous space: they cannot share frames with the donor
    // there.
    for (const mm of image.mms().slice(1)) {
      const vma = mm.vmas[0]!.offset;
      bytes.writeBigUInt64LE(BigInt(mm.ordinal), vma + 72);
      seal(bytes, vma, VMA.bytes, VMA.crcAt);
    }
    const target = createMachine({ memory: 4 * MiB, maxAddressSpaces: 8 });
    const { free } = target.memory;
    const hostile = await openImage(inMemory(bytes));
    await expect(dumper.restore(hostile, target)).rejects.toMatchObject({
      code: 'ENOMEM',
      message: expect.stringContaining('the image needs more than'),
    });
    expect(target.memory.free).toBe(free);
    expect(target.addressSpaces()).toEqual([]);
    // The undamaged image needs one copy, which all mms share.
    const { mms } = await dumper.restore(image, target);
    const page = new Uint8Array(PAGE_SIZE);
    mms[7]!.read(at, page);
    expect(new Set(page)).toEqual(new Set([3]));
  });

  it('of an image that names a pipe does not wait for a writer', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mmdump-pipe-'));
    try {
      const path = join(folder, 'pipe');
      execFileSync('mkfifo', [path]);
      const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
      const space = machine.createAddressSpace();
      const file = machine.createFile({ path, content: new Uint8Array(PAGE_SIZE) });
      const at = space.mmap({ prot: 'r', flags: ['private'], file: file.id, length: PAGE_SIZE });
      const image = await openImage(inMemory(await imageOf(dumper, space)));
      const target = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
      const { mms } = await dumper.restore(image, target);
      expect(() => mms[0]!.read(at, new Uint8Array(1))).toThrowError(
        expect.objectContaining({
          code: 'SIGBUS',
          message: expect.stringContaining('not a regular file'),
        }),
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
