/**
 * Images with a parent: what a dump, a reader and a verification do with a chain.
 *
 * Invariants checked:
 * - A reader finds ancestors beside the image or among those that it is given. A missing one is an
 *   error that names its id, at once. A file of the right name that holds another image is not
 *   taken for it. A damaged one is found when it is needed, and by `verify`, which names it.
 * - What a dump finds does not depend on whether ranges of changed pages are known.
 * - A dump never writes over an image that it needs. A chain has at most 255 images.
 */
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  fileSink,
  type Image,
  type MemoryImage,
  MiB,
  memorySink,
  type OpenOptions,
  openImage as openUntracked,
  PAGE_SIZE,
  splitSink,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { seal } from '../support/images/image-mutations.ts';
import { ANON, bytesOf, inMemory } from '../support/images/images.ts';

const PAGES = 700;
let dumper: Dumper;
let folder: string;
let space: AddressSpace;
let at: number;

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-chain-'));
  space = createMachine({ memory: 16 * MiB, maxAddressSpaces: 2 }).createAddressSpace();
  at = space.mmap({ ...ANON, length: PAGES * PAGE_SIZE });
  for (let page = 0; page < PAGES; page++) write(page, page + 1);
});
afterEach(async () => {
  for (const image of opened.splice(0)) await image.close();
  rmSync(folder, { recursive: true });
});

const opened: Image[] = [];

/** Opens an image, which is closed at the end of the test at the latest. */
async function openImage(from: string | MemoryImage, options?: OpenOptions): Promise<Image> {
  const image = await openUntracked(from, options);
  opened.push(image);
  return image;
}

function write(page: number, value: number): void {
  space.write(at + page * PAGE_SIZE, Uint8Array.of(value, value >> 8, 7));
}

const path = (name: string): string => join(folder, name);

/** Dumps `count` images into files 0.cpt, 1.cpt … Each differs from the one before in a page. */
async function dumpChain(count: number): Promise<void> {
  await dumper.dump(space, { to: fileSink(path('0.cpt')) });
  for (let index = 1; index < count; index++) {
    write(index * 10, 5000 + index);
    const parent = await openImage(path(`${index - 1}.cpt`));
    await dumper.dump(space, { to: fileSink(path(`${index}.cpt`)), parent });
    await parent.close();
  }
}

async function firstByte(file: string, page: number): Promise<number> {
  const image = await openImage(file);
  try {
    const into = new Uint8Array(PAGE_SIZE);
    await image.read(at + page * PAGE_SIZE, into);
    return into[0]! + into[1]! * 256;
  } finally {
    await image.close();
  }
}

describe('a reader of a chain', () => {
  it('finds the ancestors beside the image, whatever their names, and lists them', async () => {
    await dumpChain(4);
    renameSync(path('1.cpt'), path('another name.cpt'));
    const ids = await Promise.all(
      ['another name', '0'].map(async (name) => (await openImage(path(`${name}.cpt`))).id),
    );
    const image = await openImage(path('3.cpt'));
    expect(image.head.parent).toBe(image.ancestors[0]!.id);
    expect(image.ancestors.map((ancestor) => ancestor.path)).toEqual([
      path('2.cpt'),
      path('another name.cpt'),
      path('0.cpt'),
    ]);
    expect(image.ancestors.slice(1).map(({ id }) => id)).toEqual(ids);
    expect(image.page(at)).toMatchObject({ kind: 'parent', offset: null });
    expect(image.page(at + 30 * PAGE_SIZE)).toMatchObject({ kind: 'copy' });
    expect(image.vmas()[0]!.pages).toMatchObject({ copy: 1, parent: PAGES - 1 });
    await image.close();
    for (const [page, value] of [
      [5, 6],
      [10, 5001],
      [20, 5002],
      [30, 5003],
      [699, 700],
    ] as const) {
      expect(await firstByte(path('3.cpt'), page)).toBe(value);
    }
  });

  it('takes ancestors that it is given, in parts and in memory', async () => {
    const base = memorySink();
    await dumper.dump(space, { to: base });
    write(3, 3000);
    const parent = await openImage(base.image);
    await dumper.dump(space, { to: splitSink(path('middle.cpt'), { parts: 2 }), parent });
    write(4, 4000);
    const middle = await openImage(path('middle.cpt'), { parents: [base.image] });
    const to = memorySink();
    await dumper.dump(space, { to, parent: middle });
    const parents = [path('middle.cpt'), base.image];
    const image = await openImage(to.image, { parents });
    const into = new Uint8Array(2 * PAGE_SIZE);
    await image.read(at + 3 * PAGE_SIZE, into);
    expect([into[1], into[PAGE_SIZE + 1]]).toEqual([3000 >> 8, 4000 >> 8]);
    const restored = createMachine({ memory: 16 * MiB, maxAddressSpaces: 1 });
    const { mms } = await dumper.restore(image, restored);
    expect(await dumper.compare(space, mms[0]!)).toMatchObject({ equal: true });
    expect((await dumper.verify(to.image, { parents })).problems).toEqual([]);
    await expect(openImage(to.image)).rejects.toMatchObject({ code: 'IMAGE_PARENT_MISSING' });
  });

  it('names the id of an ancestor that is missing', async () => {
    await dumpChain(4);
    const { id } = await openImage(path('1.cpt'));
    rmSync(path('1.cpt'));
    const failure = { code: 'IMAGE_PARENT_MISSING', message: expect.stringContaining(id) };
    await expect(openImage(path('3.cpt'))).rejects.toMatchObject(failure);
    const { ok, problems } = await dumper.verify(path('3.cpt'));
    expect(ok).toBe(false);
    expect(problems).toMatchObject([failure]);
  });

  it('does not take another image for an ancestor', async () => {
    await dumpChain(3);
    copyFileSync(path('0.cpt'), path('kept.img')); // not a name that is looked at
    write(600, 1);
    await dumper.dump(space, { to: fileSink(path('0.cpt'), { force: true }) });
    // The head of a whole image names its length and the number of its mms, so those of the two
    // images are the same. The records are not.
    await expect(firstByte(path('2.cpt'), 5)).rejects.toMatchObject({
      code: 'IMAGE_PARENT_DIFFERS',
      message: expect.stringContaining(path('0.cpt')),
    });
    expect((await dumper.verify(path('2.cpt'))).problems).toMatchObject([
      { code: 'IMAGE_PARENT_DIFFERS' },
    ]);
    copyFileSync(path('kept.img'), path('kept.cpt'));
    expect(await firstByte(path('2.cpt'), 5)).toBe(6); // the right one of two that look alike
    rmSync(path('kept.cpt'));
    expect(await firstByte(path('2.cpt'), 20)).toBe(5002); // what it stores itself can be read
    const image = await openImage(path('2.cpt'));
    const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 1 });
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({
      code: 'IMAGE_PARENT_DIFFERS',
    });
    await image.close();
  });

  it('finds damage in any image of the chain', async () => {
    await dumpChain(3);
    const whole = readFileSync(path('0.cpt'));
    const damaged = Buffer.from(whole);
    damaged[damaged.length - 100]! ^= 1; // in the last page, which the last image has in its parent
    writeFileSync(path('0.cpt'), damaged);
    await expect(firstByte(path('2.cpt'), PAGES - 1)).rejects.toMatchObject({
      code: 'IMAGE_CHECKSUM',
      message: expect.stringContaining(path('0.cpt')),
    });
    const { problems } = await dumper.verify(path('2.cpt'));
    expect(problems).toMatchObject([
      { code: 'IMAGE_CHECKSUM', message: expect.stringContaining(path('0.cpt')) },
    ]);
    const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 1 });
    const image = await openImage(path('2.cpt'));
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    await image.close();
    writeFileSync(path('0.cpt'), whole.subarray(0, whole.length - 8));
    await expect(openImage(path('2.cpt')).then((open) => open.close())).resolves.toBeUndefined();
    await expect(firstByte(path('2.cpt'), 0)).rejects.toMatchObject({ code: 'IMAGE_TRUNCATED' });
  });
});

describe('a hostile chain', () => {
  it('is never read without an error where a bit of it was changed', async () => {
    const images: Buffer[] = [];
    let parent: Image | undefined;
    space.munmap(at + 6 * PAGE_SIZE, (PAGES - 6) * PAGE_SIZE);
    for (let index = 0; index < 3; index++) {
      write(index, 77);
      const sink = memorySink();
      await dumper.dump(space, { to: sink, parent });
      images.push(bytesOf(sink.image));
      parent = await openImage(inMemory(images.at(-1)!), { parents: images.map(inMemory) });
    }
    const want = new Uint8Array(6 * PAGE_SIZE);
    space.read(at, want);
    let step = 7;
    for (const [which, bytes] of images.entries()) {
      for (let bit = 0; bit < bytes.length * 8; bit += 1 + (step % (bytes.length / 4))) {
        step = (step * 75) % 65537;
        const damaged = images.map((each) => Buffer.from(each));
        damaged[which]![bit >> 3]! ^= 1 << (bit & 7);
        const parents = damaged.slice(0, 2).map(inMemory);
        const { ok, problems } = await dumper.verify(inMemory(damaged[2]!), { parents });
        expect({ ok, bit }).toEqual({ ok: false, bit });
        expect(problems[0]!.code).toMatch(/^IMAGE_/);
        const into = new Uint8Array(6 * PAGE_SIZE);
        try {
          const image = await openImage(inMemory(damaged[2]!), { parents });
          await image.read(at, into);
          expect(Buffer.compare(into, want)).toBe(0); // the damage is where nothing was read
        } catch (error) {
          expect((error as { code: string }).code).toMatch(/^IMAGE_/);
        }
      }
    }
  });

  it('is refused where its ancestors do not hold what lies in the parent', async () => {
    const base = memorySink();
    space.munmap(at + 100 * PAGE_SIZE, (PAGES - 100) * PAGE_SIZE);
    await dumper.dump(space, { to: base });
    const child = memorySink();
    const parent = await openImage(base.image);
    await dumper.dump(space, { to: child, parent });
    const bytes = bytesOf(child.image);
    // The block moves by a page: the last one is no page of the parent.
    const record = bytes.length - 48;
    for (const field of [16, 24]) {
      bytes.writeUInt32LE(bytes.readUInt32LE(record + field) + PAGE_SIZE, record + field);
    }
    seal(bytes, record, 48, 40);
    const vma = record - 96;
    bytes.writeUInt32LE(bytes.readUInt32LE(vma + 48) + PAGE_SIZE, vma + 48);
    seal(bytes, vma, 96, 88);
    const parents = [base.image];
    const image = await openImage(inMemory(bytes), { parents });
    const into = new Uint8Array(PAGE_SIZE);
    const failure = { code: 'IMAGE_CORRUPT', message: expect.stringContaining('in the parent') };
    await expect(image.read(at + 100 * PAGE_SIZE, into)).rejects.toMatchObject(failure);
    const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 1 });
    await expect(dumper.restore(image, machine)).rejects.toMatchObject(failure);
    expect((await dumper.verify(inMemory(bytes), { parents })).problems).toMatchObject([failure]);
    await expect(dumper.dump(space, { to: memorySink(), parent: image })).rejects.toMatchObject(
      failure,
    );
  });
});

describe('a dump with a parent', () => {
  it('stores what has changed, and reports it', async () => {
    await dumpChain(2);
    const parent = await openImage(path('1.cpt'));
    write(1, 1);
    write(2, 3); // the value that it has
    space.madvise(at + 50 * PAGE_SIZE, PAGE_SIZE, 'dontneed');
    const estimate = await dumper.estimate(space, { parent });
    const report = await dumper.dump(space, { to: fileSink(path('2.cpt')), parent });
    expect(report.mms[0]!.pages).toMatchObject({ copy: 1, parent: PAGES - 2, absent: 1 });
    expect(estimate.image.bytes).toBe(report.image.bytes);
    expect(report.image.bytes).toBeLessThan(2 * PAGE_SIZE);
    await parent.close();
    await expect(dumper.dump(space, { to: memorySink(), parent })).rejects.toMatchObject({
      code: 'IMAGE_CLOSED',
    });
  });

  it('does not write over an image that it needs', async () => {
    await dumpChain(3);
    const parent = await openImage(path('2.cpt'));
    for (const name of ['0.cpt', '2.cpt']) {
      const to = fileSink(path(name), { force: true });
      await expect(dumper.dump(space, { to, parent })).rejects.toMatchObject({
        code: 'OPTION_INVALID',
        message: expect.stringContaining(path(name)),
      });
    }
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    const inSink = await openImage(sink.image);
    await expect(dumper.dump(space, { to: sink, parent: inSink })).rejects.toMatchObject({
      code: 'INPUT_FAILED',
    });
  });

  it('is refused when the chain is full', async () => {
    const images: MemoryImage[] = [];
    let parent: Image | undefined;
    for (let index = 0; index < 255; index++) {
      const sink = memorySink();
      write(0, index);
      await dumper.dump(space, { to: sink, parent });
      images.unshift(inMemory(bytesOf(sink.image)));
      parent = await openImage(images[0]!, { parents: images.slice(1) });
    }
    expect(parent!.ancestors).toHaveLength(254);
    const into = new Uint8Array(PAGE_SIZE);
    await parent!.read(at + PAGE_SIZE, into);
    expect(into[0]).toBe(2);
    await expect(dumper.dump(space, { to: memorySink(), parent })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('255'),
    });
  });
});
