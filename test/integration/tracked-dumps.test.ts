/**
 * Dumps with a parent that find changed pages by dirty bits: the bytes are those by digests, and the
 * bits are used only where they tell what has changed since the parent.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  type DumpReport,
  type Image,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  readPte,
  writePte,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, bytesOf, inMemory } from '../support/images/images.ts';

const PAGES = 64;
const AT = 0x4000_0000;

let dumper: Dumper;
let other: Dumper;
beforeAll(async () => {
  [dumper, other] = await Promise.all([createDumper({ workers: 1 }), createDumper({ workers: 2 })]);
});
afterAll(() => Promise.all([dumper.close(), other.close()]));

type Options = Omit<DumpOptions, 'to'>;

/** A machine and the images that were made of it. */
class Chain {
  readonly ram = new SharedArrayBuffer(8 * PAGE_SIZE);
  readonly marks = new Uint8Array(new SharedArrayBuffer(8));
  readonly machine = createMachine({
    memory: 32 * MiB,
    maxAddressSpaces: 8,
    checks: true,
    banks: [{ memory: this.ram, dirty: this.marks }],
  });
  readonly images: Buffer[] = [];

  space(): AddressSpace {
    const space = this.machine.createAddressSpace();
    space.mmap({ ...ANON, length: PAGES * PAGE_SIZE, address: AT });
    for (let page = 0; page < PAGES; page++) space.fill(AT + page * PAGE_SIZE, 100, page + 1);
    return space;
  }

  open(bytes: Buffer = this.images.at(-1)!): Promise<Image> {
    return openImage(inMemory(bytes), { parents: this.images.map((one) => inMemory(one)) });
  }

  /** Dumps with the last image as its parent, and adds the image. */
  async dump(
    spaces: AddressSpace | readonly AddressSpace[],
    options: Options = {},
    by: Dumper = dumper,
  ): Promise<DumpReport> {
    const parent = options.parent ?? (this.images.length === 0 ? undefined : await this.open());
    const to = memorySink();
    const report = await by.dump(spaces, { ...options, parent, to });
    this.images.push(bytesOf(to.image));
    if (options.parent === undefined) await parent?.close();
    return report;
  }

  /** The way that a dump with these options goes, whose bytes have to be those by digests. */
  async way(
    spaces: AddressSpace | readonly AddressSpace[],
    options: Options = { track: true },
  ): Promise<string | null> {
    const { track: _, ...rest } = options;
    await this.dump(spaces, { ...rest, changes: 'digests' });
    const byDigests = this.images.pop()!;
    const { changes } = await this.dump(spaces, options);
    expect(this.images.at(-1)!.equals(byDigests)).toBe(true);
    return changes;
  }
}

const write = (space: AddressSpace, page: number, value: number): void => {
  space.fill(AT + page * PAGE_SIZE, 9, value);
};

const FREEZES = [
  ['a freeze', {}],
  ["pause: 'fork'", { pause: 'fork' }],
] as const;

describe.each(FREEZES)('a tracked dump with %s', (_name, pause) => {
  it('lets the next one look at dirty pages only, for as many images as you like', async () => {
    const chain = new Chain();
    const space = chain.space();
    const options = { ...pause, track: true };
    expect((await chain.dump(space, options)).changes).toBeNull();
    for (let round = 0; round < 4; round++) {
      write(space, round * 3, 100 + round);
      space.madvise(AT + (round + 20) * PAGE_SIZE, PAGE_SIZE, 'dontneed');
      expect(await chain.way(space, options)).toBe('dirty');
    }
    chain.machine.close();
  });

  it('finds pages that were dropped and read again, also where zeros are copied', async () => {
    const chain = new Chain();
    const space = chain.space();
    await chain.dump(space, { ...pause, track: true });
    space.madvise(AT + PAGE_SIZE, PAGE_SIZE, 'dontneed');
    space.read(AT + PAGE_SIZE, new Uint8Array(1));
    expect(await chain.way(space, { ...pause, track: true, zeroPages: 'copy' })).toBe('digests');
    expect(await chain.way(space, { ...pause, zeroPages: 'detect' })).toBe('dirty');
    const asked = chain.dump(space, { ...pause, zeroPages: 'copy', changes: 'dirty' });
    await expect(asked).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    chain.machine.close();
  });

  it('has several children, which need not begin a period', async () => {
    const chain = new Chain();
    const space = chain.space();
    await chain.dump(space, { ...pause, track: true });
    const first = chain.images[0]!;
    for (let round = 0; round < 3; round++) {
      write(space, round, 200);
      const parent = await chain.open(first);
      expect(await chain.way(space, { ...pause, parent, changes: 'dirty' })).toBe('dirty');
      await parent.close();
    }
    chain.machine.close();
  });

  it('is of no use once somebody has taken dirty pages, or changed an entry', async () => {
    const chain = new Chain();
    const space = chain.space();
    await chain.dump(space, { ...pause, track: true });
    write(space, 1, 100);
    space.dirty.take();
    expect(await chain.way(space, { ...pause, track: true })).toBe('digests');
    write(space, 1, 101);
    expect(await chain.way(space, { ...pause, track: true })).toBe('dirty');
    const pte = readPte(space, AT + PAGE_SIZE);
    writePte(space, AT + PAGE_SIZE, readPte(space, AT + 2 * PAGE_SIZE));
    expect(await chain.way(space, pause)).toBe('digests');
    writePte(space, AT + PAGE_SIZE, pte);
    chain.machine.close();
  });

  it('knows adopted memory by its marks, and compares what two mappings show', async () => {
    const chain = new Chain();
    const space = chain.space();
    const twin = chain.machine.createAddressSpace();
    const ram = new Uint8Array(chain.ram);
    ram.fill(7);
    const place = AT + MiB;
    space.mapFrames({ length: 8 * PAGE_SIZE, prot: 'rw', address: place, flags: ['fixed'] });
    await chain.dump(space, { ...pause, track: true });
    ram[PAGE_SIZE] = 1;
    chain.marks[1] = 1;
    expect(await chain.way(space, { ...pause, track: true })).toBe('dirty');
    ram[2 * PAGE_SIZE] = 1; // without a mark, which breaks the promise: bits do not tell
    const { mms } = await chain.dump(space, { ...pause, track: true });
    expect(mms[0]!.pages.copy).toBe(0);
    chain.marks[2] = 1;
    expect(await chain.way(space, { ...pause, track: true })).toBe('dirty');
    const frames = { length: 8 * PAGE_SIZE, prot: 'rw', address: AT, flags: ['fixed'] } as const;
    twin.mapFrames(frames);
    twin.fill(AT + 3 * PAGE_SIZE, 5, 77); // no leaf of `space` tells
    twin.munmap(AT, 8 * PAGE_SIZE);
    expect(await chain.way(space, { ...pause, track: true })).toBe('dirty');
    expect(await chain.way(space, { ...pause, track: true })).toBe('dirty');
    chain.machine.close();
  });
});

describe('a dump with a parent', () => {
  it('compares pages if the parent was not tracked, by this dumper, in this order', async () => {
    const chain = new Chain();
    const [a, b] = [chain.space(), chain.space()];
    write(b, 3, 99);
    await chain.dump([a, b]);
    expect(await chain.way([a, b])).toBe('digests');
    expect(await chain.way([a, b])).toBe('dirty');
    expect(await chain.way([b, a])).toBe('digests');
    expect(await chain.way([b, a])).toBe('dirty');
    const { changes } = await chain.dump([b, a], { track: true }, other);
    expect(changes).toBe('digests');
    expect(await chain.way([b, a])).toBe('digests');
    write(a, 2, 5);
    const child = b.fork(); // the parent has no pages at its ordinal
    expect(await chain.way([b, a, child])).toBe('dirty');
    chain.machine.close();
  });

  it('compares pages of another mm in the same slot, and after a dump that has failed', async () => {
    const chain = new Chain();
    const space = chain.space();
    await chain.dump(space, { track: true });
    const before = chain.images.length;
    await expect(chain.dump(space, { track: true, sizeLimit: 1 })).rejects.toMatchObject({
      code: 'SIZE_LIMIT',
    });
    expect(chain.images).toHaveLength(before);
    expect(await chain.way(space)).toBe('digests');
    expect(await chain.way(space)).toBe('dirty');
    space.exit();
    const next = chain.space();
    write(next, 3, 123);
    expect(await chain.way(next)).toBe('digests');
    chain.machine.close();
  });

  it('clears nothing for an estimate, and for dumps that are not tracked', async () => {
    const chain = new Chain();
    const space = chain.space();
    await chain.dump(space, { track: true });
    write(space, 4, 1);
    const parent = await chain.open();
    const estimate = await dumper.estimate(space, { parent, track: true });
    expect(estimate.changes).toBe('dirty');
    const { image } = await dumper.dump(space, { parent, to: memorySink() });
    expect(estimate.image.bytes).toBe(image.bytes);
    await parent.close();
    expect(space.dirty.take()).toEqual([{ start: AT + 4 * PAGE_SIZE, end: AT + 5 * PAGE_SIZE }]);
    chain.machine.close();
  });

  it('is refused where bits are demanded and do not tell, and nothing is cleared', async () => {
    const chain = new Chain();
    const space = chain.space();
    const asked = { changes: 'dirty', track: true } as const;
    await chain.dump(space, { track: true });
    expect((await chain.dump(space, asked)).changes).toBe('dirty');
    space.dirty.start();
    write(space, 1, 1);
    for (const [, pause] of FREEZES) {
      const refused = chain.dump(space, { ...pause, ...asked });
      await expect(refused).rejects.toThrow(/^changes: dirty bits do not tell .* in mm 0 since/);
    }
    expect(space.dirty.take()).toHaveLength(1);
    chain.machine.close();
  });

  it('does not take the digests of one parent for those of another with the same id', async () => {
    const chain = new Chain();
    const space = chain.space();
    const ids: string[] = [];
    await chain.dump(space, { checksum: 'none' });
    const first = chain.images[0]!;
    for (const value of [50, 60]) {
      write(space, 0, value);
      const parent = await chain.open(first);
      ids.push((await chain.dump(space, { checksum: 'none', parent })).image.id);
      await parent.close();
    }
    expect(ids[0]).toBe(ids[1]); // or the test has no meaning any more
    write(space, 0, 50);
    const parent = await openImage(inMemory(chain.images[2]!), { parents: [inMemory(first)] });
    expect((await chain.dump(space, { parent })).mms[0]!.pages.copy).toBe(1);
    await parent.close();
    chain.machine.close();
  });

  it('refuses what cannot be right', async () => {
    const chain = new Chain();
    const space = chain.space();
    const snapshot = chain.machine.snapshot();
    const to = memorySink();
    const refused = async (options: Options, of: AddressSpace | typeof snapshot = space) => {
      const { message } = await dumper.dump(of, { ...options, to }).then(
        () => new Error('nothing'),
        (error: Error) => error,
      );
      return message;
    };
    expect(await refused({ track: true, freeze: false })).toMatch(/^track: a machine that runs on/);
    expect(await refused({ changes: 'dirty', freeze: false })).toMatch(/^changes: 'dirty': a mach/);
    expect(await refused({ track: true }, snapshot)).toMatch(/^track: a snapshot is of an earlier/);
    expect(await refused({ track: true, checksum: 'none' })).toMatch(/^track: .* needs checksums/);
    expect(await refused({ track: true, format: 'elf' })).toMatch(/^track: /);
    expect(await refused({ changes: 'x' as never })).toMatch(/^changes: /);
    expect(await refused({ track: 1 as never })).toMatch(/^track: /);
    chain.machine.close();
  });
});
