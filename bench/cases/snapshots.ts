/**
 * Snapshots in a row: 100 pages are written and rewound, in a small and in a large guest in turn;
 * taking dirty pages; and the pause of a dump with `pause: 'fork'`.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Machine,
  MiB,
  memorySink,
  PAGE_SIZE,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Task, type Tasks } from '../measure.ts';

const WRITTEN = 100;
/** Rewinds per sample, so that a sample is long enough for the clock. */
const TIMES = 50;
/** Pages lie so far apart that they are spread over the tables of 64 MiB. */
const STRIDES = { 'neighbouring pages': 1, 'pages in 32 tables': 163 };
const ONE = Uint8Array.of(1);
const SMALL = 64 * MiB;

interface Guest {
  readonly machine: Machine;
  readonly mm: AddressSpace;
  readonly at: number;
}

export const snapshots: BenchCase = {
  name: 'snapshots',
  about: 'snapshots and rewinds of a small and a large guest, dirty pages, and the pause of a dump',
  async run({ options }) {
    const bytes = Math.max(SMALL, Math.min(options.bytes, 1024 * MiB));
    const small = guestOf(SMALL);
    const large = guestOf(bytes);
    const lines: Line[] = [];
    for (const [name, stride] of Object.entries(STRIDES)) {
      lines.push(...(await rewinds(small, large, bytes, name, stride, options.rounds)));
    }
    lines.push(...(await pauses(large, bytes, options.rounds)));
    await small.machine.close();
    await large.machine.close();
    return { lines };
  },
};

function guestOf(bytes: number): Guest {
  const machine = createMachine({ memory: bytes + bytes / 16 + 16 * MiB, maxAddressSpaces: 4 });
  const mm = machine.createAddressSpace();
  const at = mm.mmap({ length: bytes, prot: 'rw', flags: ['private', 'anonymous'] });
  for (let offset = 0; offset < bytes; offset += PAGE_SIZE) mm.write(at + offset, ONE);
  return { machine, mm, at };
}

function write({ mm, at }: Guest, stride: number): void {
  for (let page = 0; page < WRITTEN; page++) mm.write(at + page * stride * PAGE_SIZE, ONE);
}

async function rewinds(
  small: Guest,
  large: Guest,
  bytes: number,
  name: string,
  stride: number,
  rounds: number,
): Promise<Line[]> {
  const taken = [small, large].map(({ machine }) => machine.snapshot());
  const task = (guest: Guest, index: number): Task => {
    return async () => {
      const start = performance.now();
      for (let time = 0; time < TIMES; time++) {
        write(guest, stride);
        taken[index]!.rewind();
      }
      return { ms: performance.now() - start };
    };
  };
  const tasks: Tasks = { small: task(small, 0), large: task(large, 1) };
  const samples = await measure(tasks, rounds, 5);
  for (const snapshot of taken) snapshot.drop();
  const each = (key: string): number[] => samplesOf(samples, key).map((ms) => (ms * 1000) / TIMES);
  const limit = { name: `${SMALL / MiB} MiB`, samples: each('small') };
  return (['small', 'large'] as const).map((key) => {
    const MiBs = key === 'small' ? SMALL / MiB : bytes / MiB;
    return toLine('snapshots', {
      name: `${WRITTEN} ${name} written and rewound`,
      parameters: { MiB: MiBs },
      unit: 'µs',
      samples: each(key),
      limit: key === 'small' ? undefined : limit,
    });
  });
}

/** What stops the guest: a snapshot, a take of dirty pages, and a dump that pauses for a snapshot. */
async function pauses(guest: Guest, bytes: number, rounds: number): Promise<Line[]> {
  const { machine, mm } = guest;
  const dumper = await createDumper();
  const timed = (action: () => void): number => {
    const start = performance.now();
    action();
    return performance.now() - start;
  };
  try {
    const tasks: Tasks = {
      'a snapshot taken': async () => {
        let ms = 0;
        const begin = (): void => {
          const snapshot = machine.snapshot();
          ms = performance.now() - start;
          snapshot.drop();
        };
        const start = performance.now();
        begin();
        return { ms };
      },
      'dirty.take(), all pages dirty': async () => {
        mm.dirty.mark(mm.vmas()[0]!.start, bytes);
        return { ms: timed(() => mm.dirty.take()) };
      },
      'dirty.take(), 100 pages dirty': async () => {
        write(guest, 163);
        return { ms: timed(() => mm.dirty.take()) };
      },
      "the pause of a dump with pause: 'fork'": async () => {
        const { ms } = await dumper.dump(mm, { to: memorySink(), pause: 'fork' });
        return { ms: ms.pause };
      },
    };
    const samples = await measure(tasks, rounds, 3);
    return Object.keys(tasks).map((name) => {
      const parameters = { MiB: bytes / MiB };
      return toLine('snapshots', {
        name,
        parameters,
        unit: 'ms',
        samples: samplesOf(samples, name),
      });
    });
  } finally {
    await dumper.close();
  }
}
