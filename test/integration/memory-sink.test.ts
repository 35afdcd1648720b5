/**
 * A memory sink that is used for one dump after the other.
 *
 * Invariants checked: an image that has grown keeps its chunks and gets more · the bytes are those
 * of any other sink, however they are cut into chunks · reading an image gives its own bytes or an
 * error, never the bytes of the next dump.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  type Sink,
  type Workload,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let dumper: Dumper;
let other: Dumper;
let workload: Workload;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  other = await createDumper({ workers: 1 });
  workload = await createWorkload('mixed', { size: 4 * MiB });
});
afterAll(async () => {
  await dumper.close();
  await other.close();
});

const IS_GONE = { code: 'INPUT_FAILED', message: /is gone/ };

/** An address space whose pages differ from each other; `grow` adds some. */
function growing(pages: number) {
  const machine = createMachine({ memory: 64 * MiB });
  const space = machine.createAddressSpace();
  const length = 8192 * PAGE_SIZE;
  const at = space.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
  let used = 0;
  const grow = (more: number): void => {
    for (const end = used + more; used < end; used++) {
      space.write(at + used * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(1 + (used % 250)));
    }
  };
  grow(pages);
  return { space, at, grow };
}

describe('an image that grows', () => {
  it('keeps every chunk that is there, and gets more', async () => {
    const { space, at, grow } = growing(1000);
    const sink = memorySink({ chunkBytes: MiB });
    await dumper.dump(space, { to: sink });
    for (let round = 0; round < 5; round++) {
      const before = sink.image.chunks.map(({ buffer }) => buffer);
      grow(200);
      await dumper.dump(space, { to: sink });
      const now = sink.image.chunks.map(({ buffer }) => buffer);
      expect(now.length).toBeGreaterThanOrEqual(before.length);
      expect(before.every((buffer, chunk) => now[chunk] === buffer)).toBe(true);
      const image = await openImage(sink.image);
      const page = new Uint8Array(PAGE_SIZE);
      for (let index = 0; index < 1200 + round * 200; index += 7) {
        await image.read(at + index * PAGE_SIZE, page);
        expect(
          page.every((byte) => byte === 1 + (index % 250)),
          `page ${index}`,
        ).toBe(true);
      }
    }
  });

  it('stays in its only chunk when it grows a little', async () => {
    const { space, grow } = growing(500);
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    const [{ buffer }] = sink.image.chunks as [Uint8Array];
    grow(10);
    await dumper.dump(space, { to: sink });
    expect(sink.image.chunks.length).toBe(1);
    expect(sink.image.chunks[0]!.buffer === buffer).toBe(true);
  });
});

describe('fault 4: an image that the next dump into its sink has ended', () => {
  /** An image, opened, and a function that ends it. */
  async function ended(how: 'dump' | 'release') {
    const sink = memorySink();
    await dumper.dump(workload.space, { to: sink });
    const { image } = sink;
    const opened = await openImage(image);
    const end = async (): Promise<void> => {
      if (how === 'release') sink.release();
      else await other.dump(workload.space, { to: sink });
    };
    return { image, opened, end };
  }

  it.each(['dump', 'release'] as const)('cannot be read, verified or restored: %s', async (how) => {
    const { image, opened, end } = await ended(how);
    const [vma] = opened.vmas().filter(({ pages }) => pages.copy > 0);
    const into = new Uint8Array(PAGE_SIZE);
    await opened.read(vma!.start, into);
    await end();
    await expect(opened.read(vma!.start, into)).rejects.toMatchObject(IS_GONE);
    await expect(openImage(image)).rejects.toMatchObject(IS_GONE);
    await expect(dumper.verify(image)).rejects.toMatchObject(IS_GONE);
    const machine = createMachine({ memory: 16 * MiB });
    const { free } = machine.memory;
    await expect(dumper.restore(opened, machine)).rejects.toMatchObject(IS_GONE);
    expect(machine.memory.free).toBe(free);
  });

  it('is an error also for a job that has begun to read it', async () => {
    for (const job of ['verify', 'restore'] as const) {
      const { image, opened, end } = await ended('dump');
      const machine = createMachine({ memory: 16 * MiB });
      let ending: Promise<void> | undefined;
      const onProgress = (): void => {
        ending ??= end();
      };
      const running =
        job === 'verify'
          ? dumper.verify(image, { onProgress })
          : dumper.restore(opened, machine, { onProgress });
      await expect(running).rejects.toMatchObject(IS_GONE);
      await ending;
    }
  });

  it('but not one that a dump into another sink leaves alone, nor one that a thread was given', async () => {
    const sink = memorySink();
    await dumper.dump(workload.space, { to: sink });
    await dumper.dump(workload.space, { to: memorySink() });
    expect(await dumper.verify(structuredClone(sink.image))).toMatchObject({ ok: true });
  });

  it('a dump that fails has ended it as well', async () => {
    const sink = memorySink();
    await dumper.dump(workload.space, { to: sink });
    const { image } = sink;
    const to: Sink = {
      kind: 'memory',
      path: null,
      open: () => sink.open(),
      reserve: (extent) => sink.reserve(extent),
      commit: () => Promise.reject(new Error('no')),
      abort: () => sink.abort(),
    };
    await expect(dumper.dump(workload.space, { to })).rejects.toThrow('no');
    await expect(dumper.verify(image)).rejects.toMatchObject(IS_GONE);
  });
});

describe('an image that is mostly records', () => {
  const MAPPINGS = 4000;

  /** Mappings of one page each, all without content. Every second one maps `file`. */
  function emptyMappings(file: number | undefined): AddressSpace {
    const machine = createMachine({ memory: 16 * MiB, store: MiB });
    const space = machine.createAddressSpace();
    const path = `/${'long name '.repeat(300)}`;
    const id = file ?? machine.createFile({ path, content: new Uint8Array(PAGE_SIZE) }).id;
    for (let mapping = 0; mapping < MAPPINGS; mapping++) {
      const address = 0x1000_0000 + mapping * 2 * PAGE_SIZE;
      const common = { address, length: PAGE_SIZE, prot: 'r' as const };
      if (file === undefined) {
        space.mmap({ ...common, flags: ['private', 'fixed'], file: id });
      } else {
        space.mmap({ ...common, flags: ['private', 'anonymous', 'fixed'] });
      }
    }
    return space;
  }

  it.each([
    ['of mappings without a page', 0],
    ['of mappings of one file, whose long name each repeats', undefined],
  ])('is whole: %s', async (_name, file) => {
    const space = emptyMappings(file);
    for (const each of [dumper, other]) {
      const sink = memorySink();
      const report = await each.dump(space, { to: sink });
      expect(sink.image.bytes).toBe(report.image.bytes);
      expect(sink.image.chunks[0]!.length).toBeGreaterThanOrEqual(report.image.bytes);
      expect(await each.verify(sink.image)).toMatchObject({ ok: true, bytes: report.image.bytes });
      const image = await openImage(sink.image);
      expect(image.vmas()).toHaveLength(MAPPINGS);
      await image.close();
    }
  });
});
