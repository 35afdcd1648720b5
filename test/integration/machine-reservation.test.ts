/** Images that lie behind the frames, in the memory of the machine that was dumped. */
import {
  attach,
  createDumper,
  createMachine,
  type Dumper,
  GiB,
  MiB,
  memorySink,
  openImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../support/images/images.ts';

const PAGES = 600;
let dumper: Dumper;

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

/** A machine with an address space whose pages differ from each other. */
function filled(memory: number, seed: number) {
  const machine = createMachine({ memory });
  const space = machine.createAddressSpace();
  const start = space.mmap({
    length: PAGES * 4096,
    prot: 'rw',
    flags: ['private', 'anonymous'],
  });
  // Fill every other page first, so that no two neighbouring pages have neighbouring frames.
  for (const parity of [0, 1]) {
    for (let page = parity; page < PAGES; page += 2) {
      space.fill(start + page * 4096, 4096, ((page * seed) % 251) + 1);
    }
  }
  return { machine, space, start };
}

type Filled = ReturnType<typeof filled>;

async function dumpTo(sink: ReturnType<typeof memorySink>, { space }: Filled): Promise<Buffer> {
  await dumper.dump(space, { to: sink });
  return bytesOf(sink.image);
}

describe('memorySink({ machine })', () => {
  it('holds the bytes that any memory sink holds, dump after dump', async () => {
    const one = filled(16 * MiB, 3);
    const ordinary = await dumpTo(memorySink(), one);
    const sink = memorySink({ machine: one.machine });
    for (let round = 0; round < 3; round++) {
      expect(ordinary.equals(await dumpTo(sink, one))).toBe(true);
    }
    const image = await openImage(sink.image);
    const page = new Uint8Array(4096);
    await image.read(one.start + 4096 * 7, page);
    expect(page.every((byte) => byte === ((7 * 3) % 251) + 1)).toBe(true);
  });

  it('leaves the machine as it is, and whoever attaches sees it as it was made', async () => {
    const one = filled(16 * MiB, 5);
    const before = one.machine.memory;
    await dumpTo(memorySink({ machine: one.machine }), one);
    expect(one.machine.memory).toEqual(before);
    expect(attach(one.machine.handle).memory).toEqual(before);
  });

  it('keeps several sinks apart, and gives on what was released', async () => {
    const one = filled(16 * MiB, 7);
    const [a, b] = [memorySink({ machine: one.machine }), memorySink({ machine: one.machine })];
    const first = await dumpTo(a, one);
    one.space.fill(one.start, 4096, 99);
    const second = await dumpTo(b, one);
    expect(first.equals(second)).toBe(false);
    expect(bytesOf(a.image).equals(first)).toBe(true);
    const length = one.machine.handle.banks[0]!.buffer.byteLength;
    a.release();
    const next = memorySink({ machine: one.machine });
    expect((await dumpTo(next, one)).equals(second)).toBe(true);
    expect(one.machine.handle.banks[0]!.buffer.byteLength).toBe(length);
  });

  it('takes dumps of another machine, of several banks, and of more than one chunk', async () => {
    const one = filled(16 * MiB, 11);
    const other = filled(3 * GiB, 13);
    const sink = memorySink({ machine: one.machine });
    expect((await dumpTo(sink, other)).equals(await dumpTo(memorySink(), other))).toBe(true);
    const large = memorySink({ machine: other.machine });
    expect((await dumpTo(large, other)).equals(await dumpTo(memorySink(), other))).toBe(true);
    const small = memorySink({ machine: one.machine, chunkBytes: MiB });
    expect((await dumpTo(small, one)).equals(await dumpTo(memorySink(), one))).toBe(true);
    expect(small.image.chunks.length).toBeGreaterThan(1);
  });
});

describe('the reservations in which workers gather pages', () => {
  const lengths = ({ machine }: Filled): number[] =>
    machine.handle.banks.map(({ buffer }) => buffer.byteLength);

  async function dumpWithOwnWorkers(one: Filled, workers: number): Promise<Buffer> {
    const own = await createDumper({ workers });
    try {
      const sink = memorySink();
      await own.dump(one.space, { to: sink });
      return bytesOf(sink.image);
    } finally {
      await own.close();
    }
  }

  it('are as large after any number of dumpers as after one', async () => {
    for (const memory of [16 * MiB, 3 * GiB]) {
      const one = filled(memory, 17);
      const image = await dumpWithOwnWorkers(one, 2);
      const after = lengths(one);
      for (let n = 0; n < 6; n++) {
        expect(image.equals(await dumpWithOwnWorkers(one, 1 + (n % 2)))).toBe(true);
      }
      expect(lengths(one)).toEqual(after);
    }
  });

  it('are taken back from a dump that failed', async () => {
    const one = filled(16 * MiB, 19);
    await dumpWithOwnWorkers(one, 2);
    const after = lengths(one);
    for (let n = 0; n < 3; n++) {
      const failed = dumper.dump(one.space, { to: memorySink(), sizeLimit: 5 * 4096 });
      await expect(failed).rejects.toMatchObject({ code: 'SIZE_LIMIT' });
      const stopped = dumper.dump(one.space, {
        to: memorySink(),
        onProgress: () => {
          throw new Error('no more');
        },
      });
      await expect(stopped).rejects.toThrow();
    }
    await dumpWithOwnWorkers(one, 2);
    expect(lengths(one)).toEqual(after);
  });

  it('are others for each of two dumps at one time', async () => {
    const one = filled(16 * MiB, 23);
    const image = await dumpWithOwnWorkers(one, 2);
    const both = await Promise.all([dumpWithOwnWorkers(one, 2), dumpWithOwnWorkers(one, 2)]);
    for (const other of both) expect(image.equals(other)).toBe(true);
  });
});
