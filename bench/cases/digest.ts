/**
 * Measures what a digest costs: alone, over bytes in the second-level cache, beside zlib.crc32;
 * with a copy, beside that copy alone, for frames in runs of several lengths; and with a copy on
 * all workers, beside the copy limit. One thread is measured by processor time, which other
 * programs on the machine disturb the least.
 */
import { readFileSync } from 'node:fs';
import { compileKernels } from '../../src/main/package/kernels.ts';
import { createMachine } from '../../src/mmu/machine/attach.ts';
import { takeReservation } from '../../src/mmu/physical/reservation.ts';
import type { KernelModules } from '../../src/shared/kernels.ts';
import { GiB, MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { Memory, WASM_PAGE, type WasmMemory } from '../../src/shared/wasm.ts';
import type { BenchCase } from '../case.ts';
import { bestCopy } from '../copy-limit.ts';
import { parametersOf } from '../dumps.ts';
import type { Fixtures } from '../fixtures.ts';
import { type DigestJobs, FloorThreads } from '../floor-threads.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Task } from '../measure.ts';
import { scatteredFrames } from '../scatter.ts';

const CACHED = 64 * 1024; // bytes that stay in the second-level cache
const TIMES = 2000;
/** Lengths of runs of neighbouring frames, for one thread and for all workers. */
const RUNS = { one: [1, 2, 4, 8, 16, 64], all: [1, 16] } as const;

const ALONE = {
  crc32: 'zlib.crc32',
  'in place': 'XXH3-64 where the bytes lie',
  'through a memory': 'XXH3-64 through a memory of 64 KiB',
} as const;
const COPIES = {
  'copy alone': 'copy alone',
  'one go': 'copy and XXH3-64 in one go',
  'digest behind': 'copy, XXH3-64 of each 64 KiB behind',
  'crc32 behind': 'copy, crc32 of each 128 KiB behind',
} as const;

type Digesting = FloorThreads<DigestJobs>;

function kernels(prefix: string): KernelModules {
  const folder = new URL('../../dist/workers/kernels/', import.meta.url);
  return compileKernels((name) => readFileSync(new URL(`${prefix}${name}.wasm`, folder)));
}

/** Measures digests on one thread, of bytes in its cache. */
async function alone(
  fixtures: Fixtures,
  threads: Digesting,
  digests: KernelModules,
): Promise<Line[]> {
  const memory = new Memory({ initial: 2, maximum: 2, shared: true });
  new Uint8Array(memory.buffer).forEach((_, at, bytes) => {
    bytes[at] = (at * 31) >> 3;
  });
  const lent = { memory, at: PAGE_SIZE, bytes: CACHED, digests };
  const message = { ...lent, id: 0, times: TIMES, clock: 'processor' } as const;
  const ways = Object.keys(ALONE) as (keyof typeof ALONE)[];
  const tasks = ways.map((way) => [
    way,
    async () => ({ ms: await threads.run('digest', { ...message, way }) }),
  ]);
  const samples = await measure(Object.fromEntries(tasks), 2 * fixtures.options.rounds, 3);
  const limit = { name: ALONE.crc32, samples: samplesOf(samples, 'crc32') };
  return ways.map((way) =>
    toLine('digest', {
      name: ALONE[way],
      parameters: { 'KiB in cache': CACHED / 1024, workers: 1, clock: 'processor' },
      unit: 'ms',
      samples: samplesOf(samples, way),
      bytes: CACHED * TIMES,
      limit: way === 'crc32' ? undefined : limit,
    }),
  );
}

type Copies = Omit<DigestJobs['copyAndDigest'], 'id' | 'way' | 'clock' | 'sources'>;

/** Makes a machine whose frames have been written, and a window that the kernels can reach. */
function makeCopies(bytes: number, digests: KernelModules): Copies {
  const copies = kernels('');
  const machine = createMachine({ memory: bytes, maxAddressSpaces: 1 });
  const { memories, words } = machine.parts.memory;
  for (const bank of words) bank.fill(0x01020304);
  const bank = memories[0]!;
  const memory: WasmMemory =
    copies.between === undefined
      ? bank
      : new Memory({ initial: bytes / WASM_PAGE, maximum: bytes / WASM_PAGE, shared: true });
  const at = memory === bank ? takeReservation(bank, bytes) : 0;
  new Int32Array(memory.buffer, at, bytes / 4).fill(1);
  const window = { memory, at, bytes };
  return { handle: machine.handle, count: bytes / PAGE_SIZE, window, copies, digests };
}

let nextId = 0;

/** Measures every way to copy and digest frames in runs of `run`, in turn with their limit. */
async function copies(
  fixtures: Fixtures,
  digesting: Digesting,
  common: Copies,
  run: number,
  floor?: FloorThreads,
): Promise<Line[]> {
  const bytes = common.count * PAGE_SIZE;
  const pattern = { bytes, run, zeroPercent: 0 };
  const sources = new SharedArrayBuffer(common.count * 4);
  new Int32Array(sources).set(scatteredFrames(common.count, run));
  const clock = floor === undefined ? 'processor' : 'wall';
  const message = { ...common, id: nextId++, sources, clock } as const;
  const ways = Object.keys(COPIES) as (keyof typeof COPIES)[];
  const tasks = ways.map((way): [string, Task] => [
    way,
    async () => ({ ms: await digesting.run('copyAndDigest', { ...message, way }) }),
  ]);
  const limits = floor === undefined ? {} : await fixtures.limitTasks(pattern, floor);
  const all = { ...limits, ...Object.fromEntries(tasks) };
  const samples = await measure(all, 2 * fixtures.options.rounds, 2);
  const limit =
    floor === undefined
      ? { name: COPIES['copy alone'], samples: samplesOf(samples, 'copy alone') }
      : bestCopy(samples);
  const parameters = { ...parametersOf(pattern, digesting.count), clock };
  const shape = { parameters, unit: 'ms', bytes } as const;
  const others = ways.filter((way) => way !== 'copy alone');
  return [
    toLine('digest', { ...shape, ...limit }),
    ...others.map((way) => {
      const each = { name: COPIES[way], samples: samplesOf(samples, way), limit };
      return toLine('digest', { ...shape, ...each });
    }),
  ];
}

export const digest: BenchCase = {
  name: 'digest',
  about: 'XXH3-64 alone, beside crc32, and with a copy, beside the copy',
  async run(fixtures) {
    const { workers } = fixtures;
    const bytes = Math.min(GiB, Math.max(64 * MiB, fixtures.options.bytes));
    const digests = kernels('xxh3-');
    const [one, all, floor] = await Promise.all([
      FloorThreads.createDigesting(1),
      FloorThreads.createDigesting(workers),
      FloorThreads.create(workers),
    ]);
    try {
      const lines = await alone(fixtures, one, digests);
      fixtures.dropSpace();
      const common = makeCopies(bytes, digests);
      for (const run of RUNS.one) lines.push(...(await copies(fixtures, one, common, run)));
      for (const run of RUNS.all) lines.push(...(await copies(fixtures, all, common, run, floor)));
      return { lines };
    } finally {
      await Promise.all([one, all, floor].map((threads) => threads.close()));
    }
  },
};
