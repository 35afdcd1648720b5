/**
 * Images whose blocks are compressed.
 *
 * Invariants checked: they show what plain images show, to every reader · their bytes do not depend
 * on sink, workers and unit size, and an estimate knows their length · a block that does not shrink
 * is stored as it is · whatever a frame says, reading it takes no more than the block, and what it
 * does not hold is IMAGE_CORRUPT · without zstd the records are read all the same, and what needs
 * zstd is ZSTD_MISSING.
 */
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  fileSink,
  flattenImage,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  splitSink,
  streamSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { seal } from '../support/images/image-mutations.ts';
import { ANON, bytesOf, imageOf, inMemory } from '../support/images/images.ts';
import { HAS_ZSTD, WHY_SKIPPED, zstdOf } from '../support/images/zstd.ts';
import { CliFolder } from '../support/programs/cli.ts';

const AT = 0x5000_0000;
const PAGES = 1400;
const compress = 'zstd' as const;

let dumper: Dumper;
let folder: string;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  folder = mkdtempSync(join(tmpdir(), 'mmdump-zstd-'));
  if (!HAS_ZSTD) console.log(`tests of compression are skipped: ${WHY_SKIPPED}`);
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

/** Pages of text; every fourth granule is noise, which does not shrink. */
function createSpace(pages = PAGES): AddressSpace {
  const space = createMachine({ memory: 32 * MiB }).createAddressSpace();
  const flags = [...ANON.flags, 'fixed'] as const;
  space.mmap({ address: AT, length: pages * PAGE_SIZE, prot: 'rw', flags });
  for (let page = 0; page < pages; page++) {
    space.write(AT + page * PAGE_SIZE, bytesAt(page));
  }
  return space;
}

const NOISE = randomFillSync(new Uint8Array(PAGE_SIZE));

function bytesAt(page: number): Uint8Array {
  const isNoise = Math.floor(page / 512) === 1;
  const bytes = isNoise ? Buffer.from(randomFillSync(NOISE)) : Buffer.alloc(PAGE_SIZE);
  if (!isNoise) bytes.fill(`page ${page}, and its text. `);
  return bytes;
}

function headOf(bytes: Buffer): number {
  return bytes.readUInt32LE(12);
}

/** Offsets of the records of compressed blocks. */
function packedBlocks(bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = 72; at < bytes.length; at += Number(bytes.readBigUInt64LE(at))) {
    const isPages = bytes.readUInt32LE(at + 8) === 4098;
    if (isPages && (bytes.readUInt32LE(at + 44) & 16) !== 0) found.push(at);
  }
  return found;
}

/** The image with another frame in its first compressed block. The record is signed again. */
function withFrame(image: Buffer, frame: Buffer): Buffer {
  const at = packedBlocks(image)[0]!;
  const length = Number(image.readBigUInt64LE(at));
  const pad = (8 - (frame.length % 8)) % 8;
  const header = Buffer.from(image.subarray(at, at + 48));
  header.writeBigUInt64LE(BigInt(48 + frame.length + pad), 0);
  header.writeUInt32LE((header.readUInt32LE(44) & 0xff) | (pad << 8), 44);
  const rest = image.subarray(at + length);
  const bytes = Buffer.concat([image.subarray(0, at), header, frame, Buffer.alloc(pad), rest]);
  bytes.writeBigUInt64LE(BigInt(bytes.length), 24);
  seal(bytes, 0, 72, 64);
  seal(bytes, at, 48, 40);
  return bytes;
}

describe.runIf(HAS_ZSTD)('a compressed image', () => {
  it.each([
    {},
    { blocks: 'page' },
    { checksum: 'crc32' },
    { checksum: 'none' },
    { freeze: false },
  ] as const)('shows what a plain one shows: %j', async (options) => {
    const space = createSpace();
    const plain = await imageOf(dumper, space, options);
    const path = join(folder, 'shown.cpt');
    await dumper.dump(space, { to: fileSink(path, { force: true }), ...options, compress });
    const bytes = readFileSync(path);
    expect(bytes.length).toBeLessThan(plain.length / 2);
    expect(headOf(bytes)).toBe(headOf(plain) | 8);
    const image = await openImage(path);
    expect(image.head.compress).toBe('zstd');
    expect(image.page(AT)).toMatchObject({ kind: 'copy', offset: null });
    for (const pages of [1, 3, 600, PAGES]) {
      const found = Buffer.alloc(pages * PAGE_SIZE);
      await image.read(AT + (PAGES - pages) * PAGE_SIZE, found);
      const expected = Buffer.alloc(found.length);
      space.read(AT + (PAGES - pages) * PAGE_SIZE, expected);
      expect(found.equals(expected)).toBe(true);
    }
    expect((await dumper.verify(path)).problems).toEqual([]);
    const flat = memorySink();
    await flattenImage(image, { to: flat, blocks: 'blocks' in options ? 'page' : 'run' });
    expect(bytesOf(flat.image).equals(plain)).toBe(true);
    for (const load of ['now', 'on-demand'] as const) {
      const machine = createMachine({ memory: 16 * MiB, checks: true });
      const { mms, release } = await dumper.restore(image, machine, { load });
      expect(await dumper.compare(mms[0]!, space)).toMatchObject({ equal: true });
      expect((await imageOf(dumper, mms[0]!, options)).equals(plain)).toBe(true);
      await release();
      await machine.close();
    }
    await image.close();
  });

  it('has the same bytes in every sink, and an estimate knows their number', async () => {
    const space = createSpace();
    const expected = await imageOf(dumper, space, { compress });
    const path = join(folder, 'sinks.cpt');
    const stream = new PassThrough();
    const [streamed] = await Promise.all([
      buffer(stream),
      dumper
        .dump(space, { to: streamSink(stream), compress, unitBytes: 2 * MiB })
        .finally(() => stream.end()),
    ]);
    expect(streamed.equals(expected)).toBe(true);
    await dumper.dump(space, { to: fileSink(path), compress, sizeLimit: expected.length });
    expect(readFileSync(path).equals(expected)).toBe(true);
    await dumper.dump(space, { to: splitSink(join(folder, 's.cpt'), { parts: 2 }), compress });
    const parts = ['s.cpt.000', 's.cpt.001'].map((name) => readFileSync(join(folder, name)));
    expect(Buffer.concat(parts).equals(expected)).toBe(true);
    expect((await dumper.estimate(space, { compress })).image.bytes).toBe(expected.length);
    const sizeLimit = expected.length - 1;
    await expect(
      dumper.dump(space, { to: memorySink(), compress, sizeLimit }),
    ).rejects.toMatchObject({ code: 'SIZE_LIMIT' });
  });

  it('stores a block that does not shrink as it is', async () => {
    const image = await openImage(inMemory(await imageOf(dumper, createSpace(), { compress })));
    expect(image.page(AT + 600 * PAGE_SIZE).offset).not.toBeNull();
    expect(image.page(AT).offset).toBeNull();
    await image.close();
  });

  it('may be a parent, and have one', async () => {
    const space = createSpace();
    const paths = ['0', '1', '2'].map((name) => join(folder, `chain-${name}.cpt`));
    await dumper.dump(space, { to: fileSink(paths[0]!), compress });
    for (const [generation, form] of (['none', 'zstd'] as const).entries()) {
      space.fill(AT + (7 + generation) * PAGE_SIZE, PAGE_SIZE, 9 + generation);
      const parent = await openImage(paths[generation]!);
      const to = fileSink(paths[generation + 1]!);
      await dumper.dump(space, { to, parent, compress: form });
      await parent.close();
    }
    expect((await dumper.verify(paths[2]!)).problems).toEqual([]);
    const image = await openImage(paths[2]!);
    for (const load of ['now', 'on-demand'] as const) {
      const machine = createMachine({ memory: 16 * MiB });
      const { mms, release } = await dumper.restore(image, machine, { load });
      expect(await dumper.compare(mms[0]!, space)).toMatchObject({ equal: true });
      await release();
    }
    await image.close();
  });

  it('takes pages from memory that is not shared, and from another image', async () => {
    const bank = new Uint8Array(8 * MiB);
    for (let page = 0; page < 2048; page++) bank.set(bytesAt(page % 300), page * PAGE_SIZE);
    const guest = createMachine({ memory: 8 * MiB, banks: [bank.buffer] }).createAddressSpace();
    guest.mapFrames({ bank: 0, length: bank.length, prot: 'rw', address: AT });
    const path = join(folder, 'backing.cpt');
    await dumper.dump(createSpace(), { to: fileSink(path) });
    const machine = createMachine({ memory: 16 * MiB });
    const backing = await openImage(path);
    const { mms } = await dumper.restore(backing, machine, { load: 'on-demand' });
    for (const space of [guest, mms[0]!]) {
      const plain = await imageOf(dumper, space);
      const expected = await imageOf(dumper, space, { compress, unitBytes: 2 * MiB });
      expect(expected.length).toBeLessThan(plain.length / 2);
      const flat = memorySink();
      await flattenImage(await openImage(inMemory(expected)), { to: flat });
      expect(bytesOf(flat.image).equals(plain)).toBe(true);
      const stream = new PassThrough();
      const dumped = dumper.dump(space, { to: streamSink(stream), compress });
      const [bytes] = await Promise.all([buffer(stream), dumped.finally(() => stream.end())]);
      expect(bytes.equals(expected)).toBe(true);
    }
    await machine.close();
    await backing.close();
  });

  it('is made and shown by the command line', async () => {
    const cli = new CliFolder();
    const dump = ['dump', '--workload', 'mixed:4M', '--compress', 'zstd', '-o', 'z.cpt'];
    expect(await cli.inside(...dump)).toMatchObject({ status: 0 });
    expect((await cli.inside('inspect', 'z.cpt')).stdout).toMatch(/, compressed with zstd$/m);
    expect(await cli.inside('verify', 'z.cpt')).toMatchObject({ status: 0 });
    expect(await cli.inside('restore', 'z.cpt', '--check')).toMatchObject({ status: 0 });
    expect((await cli.inside(...dump, '-o', 'z.core', '--format', 'elf')).status).toBe(2);
    cli.remove();
  });

  it('is no ELF core file', async () => {
    const dumped = dumper.dump(createSpace(8), { to: memorySink(), compress, format: 'elf' });
    await expect(dumped).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });
});

describe.runIf(HAS_ZSTD)('a frame that lies', () => {
  /** What reads, verifies and restores an image do with it. */
  async function outcomes(bytes: Buffer): Promise<unknown[]> {
    const path = join(folder, 'lies.cpt');
    writeFileSync(path, bytes);
    const codeOf = (job: Promise<unknown>): Promise<unknown> =>
      job.then(
        () => 'done',
        ({ code }: { code: string }) => code,
      );
    const image = await openImage(path);
    const machine = createMachine({ memory: 16 * MiB });
    const read = await codeOf(image.read(AT, new Uint8Array(PAGE_SIZE)));
    const whole = await codeOf(image.read(AT, new Uint8Array(8 * PAGE_SIZE)));
    const restored = await codeOf(dumper.restore(image, machine));
    const { mms } = await dumper.restore(image, machine, { load: 'on-demand' });
    const prefetched = await codeOf(mms[0]!.prefetch());
    const touched = await codeOf(mms[0]!.readAsync(AT, new Uint8Array(1)));
    const { problems } = await dumper.verify(path);
    await machine.close();
    await image.close();
    return [read, whole, restored, prefetched, touched, ...problems.map(({ code }) => code)];
  }

  const corrupt = Array(6).fill('IMAGE_CORRUPT');

  it.each(['xxh3', 'none'] as const)('is IMAGE_CORRUPT: checksum %s', async (checksum) => {
    const image = await imageOf(dumper, createSpace(8), { compress, checksum });
    const bomb = zstdOf(new Uint8Array(256 * MiB));
    expect(bomb.length).toBeLessThan(8 * PAGE_SIZE);
    const longer = zstdOf(new Uint8Array(8 * PAGE_SIZE + 1));
    const shorter = zstdOf(new Uint8Array(8 * PAGE_SIZE - 1));
    const noise = Buffer.from('this is no frame');
    const cut = zstdOf(new Uint8Array(8 * PAGE_SIZE)).subarray(0, 12);
    // A window of 4 GiB, in a frame that does not say its length.
    const vast = Buffer.from('28b52ffd00b0010000', 'hex');
    for (const frame of [bomb, longer, shorter, noise, cut, vast]) {
      expect(await outcomes(withFrame(image, frame))).toEqual(corrupt);
    }
  });

  it('that is damaged anywhere is found, or shows the same', async () => {
    const image = await imageOf(dumper, createSpace(8), { compress });
    const expected = Buffer.alloc(8 * PAGE_SIZE);
    const whole = await openImage(inMemory(image));
    await whole.read(AT, expected);
    await whole.close();
    let same = 0;
    for (let at = 72; at < image.length; at++) {
      const bytes = Buffer.from(image);
      bytes[at]! ^= 1 << ((at * 5) % 8);
      const { ok, problems } = await dumper.verify(inMemory(bytes));
      if (!ok) {
        expect(['IMAGE_CHECKSUM', 'IMAGE_CORRUPT', 'IMAGE_TRUNCATED']).toContain(problems[0]!.code);
        continue;
      }
      const found = Buffer.alloc(expected.length);
      const damaged = await openImage(inMemory(bytes));
      await damaged.read(AT, found);
      await damaged.close();
      expect(found.equals(expected), `byte ${at}`).toBe(true);
      same++;
    }
    expect(same).toBeLessThan(5); // of all bytes of the frame
  });

  it('holds other pages: IMAGE_CHECKSUM', async () => {
    const image = await imageOf(dumper, createSpace(8), { compress });
    const other = withFrame(image, zstdOf(new Uint8Array(8 * PAGE_SIZE)));
    expect(await outcomes(other)).toEqual(Array(6).fill('IMAGE_CHECKSUM'));
  });

  it('is padded with zeros, fewer than 8', async () => {
    const frameOf = (pages: number): Buffer => {
      return zstdOf(Buffer.concat([...Array(pages).keys()].map(bytesAt)));
    };
    let pages = 8;
    while (frameOf(pages).length % 8 === 0) pages++;
    const image = await imageOf(dumper, createSpace(pages), { compress });
    const at = packedBlocks(image)[0]!;
    const padded = withFrame(image, frameOf(pages));
    expect(padded.equals(image)).toBe(true);
    padded[at + Number(image.readBigUInt64LE(at)) - 1] = 1;
    expect(await outcomes(padded)).toEqual(corrupt);
  });

  it('is refused with flags that contradict each other', async () => {
    const image = await imageOf(dumper, createSpace(8), { compress });
    const at = packedBlocks(image)[0]!;
    const flags = image.readUInt32LE(at + 44);
    for (const other of [flags | 2, flags | 8, flags & ~16, flags | 0x800, flags ^ 16 ^ 0x100]) {
      const bytes = Buffer.from(image);
      bytes.writeUInt32LE(other, at + 44);
      seal(bytes, at, 48, 40);
      await expect(openImage(inMemory(bytes))).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' });
    }
    const plain = Buffer.from(image);
    plain.writeUInt32LE(headOf(image) & ~8, 12);
    seal(plain, 0, 72, 64);
    await expect(openImage(inMemory(plain))).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' });
  });
});

describe('the golden compressed image', () => {
  const path = new URL('../golden/zstd/family.cpt.gz', import.meta.url);
  const bytes = gunzipSync(readFileSync(path));

  it.runIf(HAS_ZSTD)('is the plain one of its time', async () => {
    const plain = new URL('../golden/zstd/plain.cpt.gz', import.meta.url);
    const image = await openImage(inMemory(bytes));
    const to = memorySink();
    await flattenImage(image, { to });
    expect(bytesOf(to.image).equals(gunzipSync(readFileSync(plain)))).toBe(true);
    expect((await dumper.verify(inMemory(bytes))).problems).toEqual([]);
    await image.close();
  });

  it.runIf(!HAS_ZSTD)('is opened without zstd, and its pages are ZSTD_MISSING', async () => {
    const image = await openImage(inMemory(bytes));
    const error = {
      code: 'ZSTD_MISSING',
      message: expect.stringMatching(/image in memory.*22\.15/),
    };
    const machine = createMachine({ memory: 32 * MiB });
    const addresses = image.vmas().flatMap(({ start, end }) => {
      return Array.from(
        { length: (end - start) / PAGE_SIZE },
        (_, page) => start + page * PAGE_SIZE,
      );
    });
    const address = addresses.find((at) => {
      const { kind, offset } = image.page(at);
      return kind === 'copy' && offset === null; // in a compressed block
    })!;
    expect(image.head.compress).toBe('zstd');
    await expect(image.read(address, new Uint8Array(1))).rejects.toMatchObject(error);
    await expect(dumper.restore(image, machine)).rejects.toMatchObject(error);
    const path = join(folder, 'golden.cpt');
    writeFileSync(path, bytes);
    const file = await openImage(path);
    const late = { code: 'ZSTD_MISSING' };
    const load = 'on-demand';
    await expect(dumper.restore(file, machine, { load })).rejects.toMatchObject(late);
    await file.close();
    expect(machine.addressSpaces()).toEqual([]);
    await expect(dumper.verify(inMemory(bytes))).rejects.toMatchObject(error);
    await image.close();
  });
});

describe.runIf(!HAS_ZSTD)('without zstd', () => {
  it('a dump is refused before it does anything', async () => {
    const space = createSpace(8);
    const error = { code: 'ZSTD_MISSING', message: expect.stringMatching(/22\.15/) };
    const path = join(folder, 'none.cpt');
    const dumped = dumper.dump(space, { to: fileSink(path), compress });
    await expect(dumped).rejects.toMatchObject(error);
    await expect(dumper.estimate(space, { compress })).rejects.toMatchObject(error);
    expect(() => readFileSync(path)).toThrow(/ENOENT/);
  });
});
