/**
 * Dumps of several mms of one machine: each page is stored once, and all are of one instant. The
 * model of a family (test/support/machine/family-model.ts) says what the image must hold of every
 * page.
 */
import { Worker } from 'node:worker_threads';
import {
  type AddressSpace,
  attach,
  createDumper,
  createMachine,
  type Dumper,
  type Image,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { createFamily, FAMILY_PAGES, type Kind } from '../support/machine/family-model.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

async function familyImage(spaces: readonly AddressSpace[], options = {}): Promise<Image> {
  return openImage(inMemory(await imageOf(dumper, spaces, options)));
}

/** The kind of the page in each mm, followed by its donor if it is a clone. */
function kindsAt(image: Image, address: number): string[] {
  return image.mms().map(({ ordinal, blocks }) => {
    const { kind } = image.page(address, { mm: ordinal });
    if (kind !== 'clone') return kind;
    const donor = image.mmAt(blocks.find(address / PAGE_SIZE)!.source)!;
    return `clone of ${donor.ordinal}`;
  });
}

const ORDERS = [
  [0, 1, 2],
  [2, 1, 0],
  [1, 2, 0],
  [0, 2],
] as const;

describe('the image of a family', () => {
  it.each(ORDERS.map((order) => [order.join(), order] as const))(
    'says of every page what each mm shows, stored once: mms %s',
    async (_name, order) => {
      const { spaces, starts, expected } = createFamily();
      const image = await familyImage(order.map((mm) => spaces[mm]!));
      const seen = new Set<string>();
      for (const kind of ['private', 'private file', 'shared'] as Kind[]) {
        for (let page = 0; page < FAMILY_PAGES; page++) {
          const address = starts[kind] + page * PAGE_SIZE;
          const pages = expected(order, kind, page);
          const kinds = pages.map((each) =>
            each.kind === 'clone' ? `clone of ${each.donor}` : each.kind,
          );
          expect(kindsAt(image, address), `${kind} page ${page}`).toEqual(kinds);
          for (const each of kinds) seen.add(each);
          for (const [mm, each] of pages.entries()) {
            if (kind === 'private file' && each.kind === 'absent') continue;
            const bytes = new Uint8Array(2);
            await image.read(address + 4095 - 1, bytes, { mm });
            expect([...bytes], `${kind} page ${page} of mm ${mm}`).toEqual(
              Array(2).fill(each.value),
            );
          }
        }
      }
      const clones = order.length === 2 ? ['clone of 0'] : ['clone of 0', 'clone of 1'];
      expect([...seen].sort()).toEqual(['absent', ...clones, 'copy', 'zero']);
    },
  );

  it('counts what it holds, and joins mappings by an id where clones do', async () => {
    const { spaces, starts, expected } = createFamily();
    const sink = memorySink();
    const report = await dumper.dump(spaces, { to: sink, source: 'family' });
    expect(report.mms.map(({ source }) => source)).toEqual(['family 0', 'family 1', 'family 2']);
    const image = await openImage(sink.image);
    for (const [mm, { pages, vmas }] of report.mms.entries()) {
      const counted = { absent: 0, copy: 0, zero: 0, clone: 0, unsupported: 0, parent: 0 };
      for (const kind of ['private', 'private file', 'shared'] as Kind[]) {
        for (let page = 0; page < FAMILY_PAGES; page++) {
          counted[expected([0, 1, 2], kind, page)[mm]!.kind]++;
        }
        const ids = image.mms().map(({ vmas: all }) => {
          return all.find(({ start }) => start === starts[kind])!.anonvmaid;
        });
        expect(new Set(ids).size).toBe(1);
        expect(ids[0] === 0).toBe(kind === 'shared');
      }
      expect(pages).toEqual(counted);
      expect(image.vmas({ mm }).map((vma) => vma.pages.clone)).toEqual(
        vmas.map((vma) => vma.pages.clone),
      );
    }
    expect((await dumper.verify(sink.image)).problems).toEqual([]);
  });

  it('is hardly longer than the distinct pages: 64 MiB, forked, 8 MiB of it changed', async () => {
    const length = 64 * MiB;
    const machine = createMachine({ memory: 80 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const parent = machine.createAddressSpace();
    const start = parent.mmap({ ...ANON, length });
    for (let at = 0; at < length; at += PAGE_SIZE) parent.fill(start + at, PAGE_SIZE, 7);
    const child = parent.fork();
    // Change every other page of a quarter, which is the least favourable layout.
    for (let at = 0; at < length / 4; at += 2 * PAGE_SIZE) child.fill(start + at, PAGE_SIZE, 8);
    const report = await dumper.dump([parent, child], { to: memorySink() });
    expect(report.mms.map(({ pages }) => [pages.copy, pages.clone])).toEqual([
      [16_384, 0],
      [2048, 14_336],
    ]);
    expect(report.image.bytes).toBeLessThanOrEqual(1.01 * (16_384 + 2048) * PAGE_SIZE);
  });

  it("takes swap slots for the frames that they are, and merged pages for nobody's", async () => {
    const machine = createMachine({
      memory: 8 * MiB,
      maxAddressSpaces: 2,
      swap: MiB,
      zeroPage: ZERO_PAGE,
    });
    const parent = machine.createAddressSpace();
    const start = parent.mmap({ ...ANON, length: 6 * PAGE_SIZE });
    for (let page = 0; page < 3; page++) {
      parent.fill(start + page * PAGE_SIZE, PAGE_SIZE, page + 1);
    }
    parent.madvise(start, 3 * PAGE_SIZE, 'pageout');
    expect(machine.swap.total - machine.swap.free).toBe(3 * PAGE_SIZE);
    const child = parent.fork();
    child.read(start, new Uint8Array(1)); // the page comes back from swap, into a frame of its own
    for (const space of [parent, child]) {
      space.fill(start + 3 * PAGE_SIZE, PAGE_SIZE, 9);
      space.madvise(start + 3 * PAGE_SIZE, PAGE_SIZE, 'mergeable');
    }
    expect(machine.mergePages()).toBeGreaterThan(0);
    const image = await familyImage([parent, child]);
    const kinds = [0, 1, 2, 3].map((page) => kindsAt(image, start + page * PAGE_SIZE)[1]);
    expect(kinds).toEqual(['copy', 'clone of 0', 'clone of 0', 'copy']);
  });

  it('has no clones of what the donor leaves out, or stores as zeros', async () => {
    const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const parent = machine.createAddressSpace();
    const start = parent.mmap({ ...ANON, length: 2 * PAGE_SIZE });
    parent.fill(start, PAGE_SIZE, 0);
    parent.fill(start + PAGE_SIZE, PAGE_SIZE, 3);
    const child = parent.fork();
    const kinds = async (options: object): Promise<string[][]> => {
      const image = await familyImage([parent, child], options);
      return [kindsAt(image, start), kindsAt(image, start + PAGE_SIZE)];
    };
    expect(await kinds({})).toEqual([
      ['zero', 'zero'],
      ['copy', 'clone of 0'],
    ]);
    expect(await kinds({ zeroPages: 'copy', blocks: 'page', checksum: 'none' })).toEqual([
      ['copy', 'clone of 0'],
      ['copy', 'clone of 0'],
    ]);
  });

  it('holds both at one instant, while another thread writes to one after the other', async () => {
    const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const first = machine.createAddressSpace();
    const start = first.mmap({ ...ANON, length: PAGE_SIZE });
    first.write(start, new Uint8Array(4));
    const second = first.fork();
    const state = new Int32Array(new SharedArrayBuffer(8)); // number of rounds, flag to stop
    const code = `
      const { attach } = await import(workerData.entry);
      const [first, second] = workerData.handles.map((handle) => attach(handle));
      const count = new Int32Array(1);
      const bytes = new Uint8Array(count.buffer);
      while (Atomics.load(workerData.state, 1) === 0) {
        count[0]++;
        first.write(workerData.start, bytes);
        second.write(workerData.start, bytes);
        Atomics.add(workerData.state, 0, 1);
        Atomics.notify(workerData.state, 0);
      }`;
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads'); (async () => {${code}})()`,
      {
        eval: true,
        workerData: {
          entry: new URL('../../dist/main/index.js', import.meta.url).href,
          handles: [first.handle, second.handle],
          start,
          state,
        },
      },
    );
    const ended = new Promise<number>((resolve, reject) => {
      worker.once('exit', resolve);
      worker.once('error', reject);
    });
    const seen = new Set<number>();
    for (let round = 0; round < 12; round++) {
      const before = Atomics.load(state, 0);
      await Promise.race([Atomics.waitAsync(state, 0, before, 10_000).value, ended]);
      const image = await familyImage([first, second]);
      const [one, two] = [new Uint8Array(4), new Uint8Array(4)];
      await image.read(start, one, { mm: 0 });
      await image.read(start, two, { mm: 1 });
      const [a, b] = [one, two].map((bytes) => new Int32Array(bytes.buffer)[0]!) as [
        number,
        number,
      ];
      expect(a - b, `${a} and ${b}`).toBeGreaterThanOrEqual(0);
      expect(a - b, `${a} and ${b}`).toBeLessThanOrEqual(1);
      seen.add(a);
    }
    Atomics.store(state, 1, 1);
    expect(await ended).toBe(0);
    expect(seen.size).toBeGreaterThan(1); // the writer did write meanwhile
  });
});

describe('a dump of several mms refuses', () => {
  const twins = (): AddressSpace[] => {
    const parent = createMachine({
      memory: 4 * MiB,
      maxAddressSpaces: 3,
      zeroPage: ZERO_PAGE,
    }).createAddressSpace();
    parent.fill(parent.mmap({ ...ANON, length: PAGE_SIZE }), PAGE_SIZE, 1);
    return [parent, parent.fork()];
  };
  const invalid = { code: 'OPTION_INVALID' };

  it('none, the same one twice, and one of another machine', async () => {
    const [parent, child] = twins();
    const [stranger] = twins();
    const to = memorySink();
    await expect(dumper.dump([], { to })).rejects.toMatchObject(invalid);
    await expect(dumper.dump([parent!, child!, parent!], { to })).rejects.toMatchObject({
      ...invalid,
      fields: { mm: 2 },
      message: expect.stringContaining('mm 0'),
    });
    const again = attach(structuredClone(parent!.handle));
    await expect(dumper.dump([parent!, again], { to })).rejects.toMatchObject(invalid);
    await expect(dumper.dump([parent!, stranger!], { to })).rejects.toMatchObject({
      ...invalid,
      message: expect.stringContaining('another machine'),
    });
    // A second view of the same machine is accepted, because the machine is the same.
    const view = attach(structuredClone(child!.handle));
    await expect(dumper.dump([parent!, view], { to })).resolves.toMatchObject({ frozen: true });
  });

  it('one that is gone, and lets the others go', async () => {
    const [parent, child] = twins();
    const { machine } = parent!.reference;
    const attempt = dumper.dump([parent!, child!], { to: memorySink() });
    child!.exit(); // exits before the job has begun
    await expect(attempt).rejects.toMatchObject({ code: 'MM_GONE', fields: { mm: 1 } });
    expect(machine.gate.isClosed).toBe(false);
    expect(parent!.mm.lock.holders()).toEqual({ readers: 0, writers: 0 });
    const reborn = parent!.fork(); // takes the same slot
    expect(reborn.reference.slot).toBe(child!.reference.slot);
    await expect(dumper.dump([parent!, child!], { to: memorySink() })).rejects.toMatchObject({
      code: 'MM_GONE',
    });
    await dumper.dump([reborn, parent!], { to: memorySink() });
  });

  it('to go on once its signal has fired while it waits for the machine', async () => {
    const spaces = twins();
    const { machine } = spaces[0]!.reference;
    const thread = machine.threads.register();
    machine.gate.enter(thread);
    const controller = new AbortController();
    const attempt = dumper.dump(spaces, { to: memorySink(), signal: controller.signal });
    setImmediate(() => controller.abort());
    await expect(attempt).rejects.toMatchObject({ name: 'AbortError' });
    machine.gate.leave(thread);
    machine.threads.release(thread);
    await dumper.dump(spaces, { to: memorySink() });
    const next = machine.threads.register();
    expect(next).toBe(thread); // every thread id was given back
    machine.threads.release(next);
  });
});
