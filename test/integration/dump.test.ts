/**
 * Dumps by real threads, through the built package: the bytes are the same for any number of
 * workers, the workers provably run at the same time, and a failure leaves nothing behind.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type DumpOptions,
  fileSink,
  GiB,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../support/images/images.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-dump-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const dumpers: Dumper[] = [];
async function dumperOf(workers: number, rendezvous = false): Promise<Dumper> {
  const dumper = await createDumper({ workers, rendezvous });
  dumpers.push(dumper);
  return dumper;
}
afterEach(async () => {
  for (const dumper of dumpers.splice(0)) await dumper.close();
});

async function dumpBytes(
  dumper: Dumper,
  space: AddressSpace,
  options: Partial<DumpOptions> = {},
): Promise<Buffer> {
  const sink = memorySink();
  await dumper.dump(space, { to: sink, ...options });
  return bytesOf(sink.image);
}

describe('the bytes of an image', () => {
  let shared: readonly Dumper[] = [];
  beforeAll(async () => {
    shared = await Promise.all([1, 2, 3, 8].map((workers) => createDumper({ workers })));
  });
  afterAll(async () => {
    for (const dumper of shared) await dumper.close();
  });

  it.each([
    ['mixed', 12 * MiB],
    ['dense', 10 * MiB],
    ['manymaps', 3000 * PAGE_SIZE],
    ['sparse', 2 ** 40],
  ] as const)(
    'of %s depend on no number of workers, unit size, sink or chunk',
    async (name, size) => {
      const { space } = await createWorkload(name, { size });
      const [alone, ...others] = shared;
      const expected = await dumpBytes(alone!, space);
      for (const dumper of others) {
        const { workers } = dumper;
        const isLast = dumper === others.at(-1);
        const between = IS_LONG || isLast ? [4 * MiB, 8 * MiB] : [];
        const most = dumper === others[0] || isLast ? [64 * MiB] : [];
        for (const unitBytes of [2 * MiB, ...between, ...most]) {
          const bytes = await dumpBytes(dumper, space, { unitBytes });
          expect(bytes.equals(expected), `${workers} workers, units of ${unitBytes}`).toBe(true);
        }
        const path = join(folder, `${name}-${workers}.cpt`);
        await dumper.dump(space, { to: fileSink(path) });
        expect(readFileSync(path).equals(expected), `file, ${workers} workers`).toBe(true);
        const tiny = IS_LONG || isLast ? [4096] : []; // thousands of chunks
        for (const chunkBytes of [...tiny, 1 * MiB + 4096]) {
          const small = memorySink({ chunkBytes });
          await dumper.dump(space, { to: small });
          expect(bytesOf(small.image).equals(expected), `chunks of ${chunkBytes}`).toBe(true);
        }
      }
    },
  );

  it('come out again from a sink that is used again, for a smaller and a larger image', async () => {
    const dumper = await dumperOf(2);
    const large = (await createWorkload('dense', { size: 8 * MiB })).space;
    const small = (await createWorkload('mixed', { size: 2 * MiB })).space;
    const sink = memorySink();
    for (const space of [small, large, small]) {
      const fresh = await dumpBytes(dumper, space);
      await dumper.dump(space, { to: sink });
      expect(bytesOf(sink.image).equals(fresh)).toBe(true);
    }
  });

  it('have a report whose list of mappings stays what it was, whenever it is read', async () => {
    const dumper = await dumperOf(2);
    const first = (await createWorkload('mixed', { size: 4 * MiB })).space;
    const second = (await createWorkload('manymaps', { size: 300 * PAGE_SIZE })).space;
    const read = (await dumper.dump(first, { to: memorySink() })).mms[0]!;
    const expected = structuredClone(read.vmas);
    const later = (await dumper.dump(first, { to: memorySink() })).mms[0]!;
    await dumper.dump(second, { to: memorySink() }); // it uses the same tables
    expect(later.vmas).toEqual(expected);
    const { copy, zero, absent } = later.pages;
    const sum = (of: 'copy' | 'zero' | 'absent'): number =>
      later.vmas.reduce((all, { pages }) => all + pages[of], 0);
    expect([sum('copy'), sum('zero'), sum('absent')]).toEqual([copy, zero, absent]);
    expect(JSON.parse(JSON.stringify(later)).vmas).toEqual(expected);
  });

  it('end with the LDT', async () => {
    const { space } = await createWorkload('mixed', { size: 4 * MiB });
    const bytes = await dumpBytes(await dumperOf(2), space);
    const ldt = space.readLdt();
    expect(ldt.length).toBeGreaterThan(0);
    expect(bytes.subarray(bytes.length - ldt.length).equals(ldt)).toBe(true);
  });

  it('of an empty address space are an image, too', async () => {
    const machine = createMachine({ memory: 2 * MiB });
    const sink = memorySink();
    const report = await (await dumperOf(2)).dump(machine.createAddressSpace(), { to: sink });
    expect(report.image.bytes).toBe(72 + 136);
    const image = await openImage(sink.image);
    expect(image.vmas()).toEqual([]);
  });
});

describe('parallelism', () => {
  it.each([2, 3, 4])('%i workers hold a unit at the same time, in both passes', async (workers) => {
    const dumper = await dumperOf(workers, true);
    const { space } = await createWorkload('dense', { size: 32 * MiB });
    const counted = await dumper.dump(space, { to: memorySink(), sizeLimit: 64 * MiB });
    for (const phase of ['count', 'copy'] as const) {
      const units = counted.perWorker.filter((one) => one.phase === phase).map((one) => one.units);
      expect(units).toHaveLength(workers);
      expect(Math.min(...units)).toBeGreaterThan(0);
    }
  });

  it('queues two dumps on one dumper', async () => {
    const dumper = await dumperOf(2);
    const { space } = await createWorkload('mixed', { size: 8 * MiB });
    const [one, two] = await Promise.all([dumpBytes(dumper, space), dumpBytes(dumper, space)]);
    expect(one.equals(two)).toBe(true);
  });

  it('lets two dumpers dump the same mm at the same time', async () => {
    const { space, machine } = await createWorkload('mixed', { size: 16 * MiB });
    const [a, b] = [await dumperOf(2), await dumperOf(2)];
    const [one, two] = await Promise.all([dumpBytes(a, space), dumpBytes(b, space)]);
    expect(one.equals(two)).toBe(true);
    expect(machine.parts.gate.isClosed).toBe(false);
    expect(space.mm.lock.holders()).toEqual({ readers: 0, writers: 0 });
  });
});

describe('large machines', () => {
  it('dumps 1000 pages of a reserved terabyte, by what is present', async () => {
    const { space } = await createWorkload('sparse');
    const report = await (await dumperOf(2)).dump(space, { to: memorySink() });
    expect(report.mms[0]?.pages).toMatchObject({ copy: 1000, zero: 0, unsupported: 0 });
    expect(report.image.bytes).toBeLessThan(1000 * (PAGE_SIZE + 48) + 1000);
    expect(report.perWorker.reduce((sum, { units }) => sum + units, 0)).toBeLessThan(3000);
  });

  it('creates 16 GiB of simulated memory without filling it, and uses both ends', async () => {
    const before = process.memoryUsage().rss;
    const machine = createMachine({ memory: 16 * GiB, maxAddressSpaces: 1 });
    expect(machine.memory.total).toBe(16 * GiB);
    const space = machine.createAddressSpace();
    const start = space.mmap({ ...ANON, length: 16 * MiB });
    space.fill(start, 16 * MiB, 7);
    expect(process.memoryUsage().rss - before).toBeLessThan(GiB);
    const report = await (await dumperOf(2)).dump(space, { to: memorySink() });
    expect(report.mms[0]?.pages.copy).toBe(4096);
  });

  it('copies frames of every bank', async () => {
    const machine = createMachine({ memory: 5 * GiB, maxAddressSpaces: 1 });
    const { allocator, thread, pages } = machine.parts;
    const space = machine.createAddressSpace();
    const start = space.mmap({ ...ANON, length: 4 * PAGE_SIZE });
    const skip = (pfn: number): void => {
      while (allocator.tryAllocateHuge(thread, false) !== 0) {
        if (allocator.managedFrames - allocator.freeFrames >= pfn) return;
      }
    };
    for (let page = 0; page < 3; page++) {
      skip(page * 0x80000);
      space.fill(start + page * PAGE_SIZE, PAGE_SIZE, page + 1);
    }
    expect(pages.words.length).toBe(((5 * GiB) / PAGE_SIZE) * 8);
    const sink = memorySink();
    await (await dumperOf(2)).dump(space, { to: sink });
    const image = await openImage(sink.image);
    const bytes = new Uint8Array(4 * PAGE_SIZE);
    await image.read(start, bytes);
    expect([0, 1, 2, 3].map((page) => bytes[page * PAGE_SIZE])).toEqual([1, 2, 3, 0]);
  });
});

describe('what a dump refuses', () => {
  function smallSpace(): AddressSpace {
    const space = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 }).createAddressSpace();
    space.fill(space.mmap({ ...ANON, length: MiB }), MiB, 1);
    return space;
  }

  it.each<[string, object]>([
    ['zeroPages', { zeroPages: 'maybe' }],
    ['checksum', { checksum: 'md5' }],
    ['blocks', { blocks: 'granule' }],
    ['unsupported', { unsupported: 'ignore' }],
    ['hugetlb', { hugetlb: '' }],
    ['unitBytes', { unitBytes: 3 * MiB }],
    ['unitBytes', { unitBytes: 0 }],
  ])('a wrong %s', async (name, wrong) => {
    const dumper = await dumperOf(1);
    const attempt = dumper.dump(smallSpace(), { to: memorySink(), ...wrong });
    await expect(attempt).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await expect(attempt).rejects.toThrow(name);
  });

  it('an output that exists, unless told to replace it', async () => {
    const dumper = await dumperOf(2);
    const path = join(folder, 'taken.cpt');
    writeFileSync(path, 'mine');
    const space = smallSpace();
    await expect(dumper.dump(space, { to: fileSink(path) })).rejects.toMatchObject({
      code: 'OUTPUT_EXISTS',
    });
    expect(readFileSync(path, 'utf8')).toBe('mine');
    await dumper.dump(space, { to: fileSink(path, { force: true }) });
    expect(readFileSync(path).subarray(0, 4).toString()).toBe('MMCP');
  });

  it('an output that cannot be created, and works again afterwards', async () => {
    const dumper = await dumperOf(2);
    const space = smallSpace();
    for (const path of [join(folder, 'no/such/folder.cpt'), `${folder}/taken.cpt/below.cpt`]) {
      const attempt = dumper.dump(space, { to: fileSink(path) });
      await expect(attempt).rejects.toMatchObject({ code: 'OUTPUT_FAILED' });
    }
    await expect(dumpBytes(dumper, space)).resolves.toBeInstanceOf(Buffer);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('to go on once its signal has fired, in any phase, and lets everything go', async () => {
    const dumper = await dumperOf(2);
    const { space, machine } = await createWorkload('dense', { size: 64 * MiB });
    const path = join(folder, 'aborted.cpt');
    for (const phase of ['before', 'count', 'copy'] as const) {
      const controller = new AbortController();
      if (phase === 'before') controller.abort();
      const attempt = dumper.dump(space, {
        to: fileSink(path),
        sizeLimit: 128 * MiB, // makes the dump count its pages first
        signal: controller.signal,
        onProgress: (progress) => {
          if (progress.phase === phase) controller.abort();
        },
      });
      await expect(attempt, phase).rejects.toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
      expect(existsSync(path)).toBe(false);
      expect(machine.parts.gate.isClosed).toBe(false);
      expect(space.mm.lock.holders()).toEqual({ readers: 0, writers: 0 });
    }
    expect(readdirSync(folder).filter((name) => name.includes('aborted'))).toEqual([]);
    await dumper.dump(space, { to: fileSink(path) });
  });

  it('an mm that was destroyed, and a dumper that was closed', async () => {
    const machine = createMachine({ memory: 4 * MiB });
    const space = machine.createAddressSpace();
    machine.destroyAddressSpace(space);
    const dumper = await createDumper({ workers: 1 });
    await expect(dumper.dump(space, { to: memorySink() })).rejects.toMatchObject({
      code: 'MM_GONE',
    });
    await dumper.close();
    await expect(dumper.dump(smallSpace(), { to: memorySink() })).rejects.toMatchObject({
      code: 'DUMPER_CLOSED',
    });
  });
});
