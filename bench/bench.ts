/**
 * Throughput of a dump, beside the copy limit of the same machine measured in the same process.
 *
 *   npm run bench                          1 GiB, memory and file sink, runs of 16 and random frames
 *   npm run bench -- --size 256M --json results.json     sizes from 16M to 64G
 *
 * Every case is measured in rounds, limit and dump in turn, because a shared machine drifts: read
 * the ratios.
 */
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type DumpReport,
  fileSink,
  GiB,
  MiB,
  memorySink,
  type Sink,
} from 'mmdump';
import { Bench } from 'tinybench';
import { parseSize, wholeNumber } from '../src/main/cli/sizes.ts';
import { CopyLimit, type Scatter, scatteredFrames } from './copy-limit.ts';
import { describeMachine, median, printHeader, printTable, writeJson } from './results.ts';

const PAGE = 4096;
const RUN = 16;
const WORKERS = [1, 2];

const { values: flags } = parseArgs({
  options: {
    size: { type: 'string', default: '1024M' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'string' },
  },
});
const bytes = benchSize(flags.size);
const rounds = wholeNumber(1, 100)(flags.rounds);

/** Whole pages, so that the frames come out even; enough of them to be worth measuring. */
function benchSize(text: string): number {
  const size = parseSize(text);
  if (size >= 16 * MiB && size <= 64 * GiB && size % MiB === 0) return size;
  throw new RangeError(`--size ${text}: expected whole MiB, 16M to 64G`);
}

interface Line {
  readonly name: string;
  readonly scatter: Scatter;
  readonly workers: number;
  readonly medianMs: number;
  readonly spreadMs: readonly [number, number];
  readonly gigabytesPerSecond: number;
  readonly limitMs: number;
  /** Share of the copy limit that is reached. */
  readonly ratio: number;
}

/** A machine whose address space is written so that its frames lie in this scatter. */
function scatteredSpace(scatter: Scatter): AddressSpace {
  const machine = createMachine({ memory: bytes + bytes / 64 + 64 * MiB });
  const space = machine.createAddressSpace();
  const start = space.mmap({ length: bytes, prot: 'rw', flags: ['private', 'anonymous'] });
  // Frames are handed out in order: whoever is written first gets the lowest.
  const frameOf = scatteredFrames(bytes / PAGE, scatter === 'runs' ? RUN : 1);
  const pageOf = new Int32Array(frameOf.length);
  frameOf.forEach((frame, page) => {
    pageOf[frame] = page;
  });
  for (const page of pageOf) space.fill(start + page * PAGE, PAGE, (page % 255) + 1);
  return space;
}

type Task = () => Promise<DumpReport | undefined>;

/** Milliseconds of each run of each task: the tasks in turn, round by round. */
async function measure(tasks: { readonly [name: string]: Task }): Promise<Map<string, number[]>> {
  const samples = new Map<string, number[]>();
  const keep = (name: string, more: readonly number[]): void => {
    samples.set(name, [...(samples.get(name) ?? []), ...more]);
  };
  for (let round = 0; round < rounds; round++) {
    const bench = new Bench({
      time: 0,
      iterations: 3,
      warmup: round === 0,
      warmupTime: 0,
      warmupIterations: 1,
      retainSamples: true,
      throws: true,
    });
    for (const [name, task] of Object.entries(tasks)) {
      const timed = async (): Promise<void> => {
        const report = await task();
        if (report?.image.path == null) return;
        keep(`${name}, without fsync`, [report.ms.total - report.ms.commit]);
      };
      bench.add(name, timed, { async: true });
    }
    await bench.run();
    for (const { name, result } of bench.tasks) {
      if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`);
      keep(name, result.latency.samples ?? []);
    }
  }
  return samples;
}

async function benchCase(space: AddressSpace, scatter: Scatter, workers: number): Promise<Line[]> {
  const limit = await CopyLimit.create(bytes, workers, RUN);
  const dumper = await createDumper({ workers });
  const memory = memorySink();
  const path = join(process.cwd(), `bench-${process.pid}.cpt`);
  const bare = { checksum: 'none', zeroPages: 'copy' } as const;
  const dumpTo =
    (to: () => Sink, options: object): Task =>
    () =>
      dumper.dump(space, { to: to(), ...options });
  const limitOf =
    (kernel: 'wasm' | 'set'): Task =>
    async () => {
      await limit.run(scatter, kernel);
      return undefined;
    };
  const toMemory = (): Sink => memory;
  const toFile = (): Sink => fileSink(path, { force: true });
  try {
    const samples = await measure({
      'limit: memory.copy': limitOf('wasm'),
      'limit: Uint8Array.set': limitOf('set'),
      'memory sink, bare': dumpTo(toMemory, bare),
      'memory sink, zero test': dumpTo(toMemory, { checksum: 'none' }),
      'memory sink, defaults': dumpTo(toMemory, {}),
      'file sink, bare': dumpTo(toFile, bare),
      'file sink, defaults': dumpTo(toFile, {}),
    });
    const limits = [...samples].filter(([name]) => name.startsWith('limit'));
    const limitMs = Math.min(...limits.map(([, runs]) => median(runs)));
    return [...samples]
      .map(([name, runs]) => toLine(name, scatter, workers, runs, limitMs))
      .sort((a, b) => a.name.localeCompare(b.name));
  } finally {
    await limit.close();
    await dumper.close();
    memory.release();
    await unlink(path).catch(() => {});
  }
}

function toLine(
  name: string,
  scatter: Scatter,
  workers: number,
  runs: readonly number[],
  limitMs: number,
): Line {
  const medianMs = median(runs);
  return {
    name,
    scatter,
    workers,
    medianMs,
    spreadMs: [Math.min(...runs), Math.max(...runs)],
    gigabytesPerSecond: bytes / medianMs / 1e6,
    limitMs,
    ratio: limitMs / medianMs,
  };
}

function show(lines: readonly Line[]): void {
  printTable(
    ['line', 'frames', 'workers', 'median ms', 'min–max', 'GB/s', 'of the limit'],
    lines.map(({ name, scatter, workers, medianMs, spreadMs, gigabytesPerSecond, ratio }) => [
      name,
      scatter === 'runs' ? `runs of ${RUN}` : 'random',
      workers,
      medianMs.toFixed(1),
      `${spreadMs[0].toFixed(0)}–${spreadMs[1].toFixed(0)}`,
      gigabytesPerSecond.toFixed(2),
      ratio.toFixed(2),
    ]),
  );
}

const machine = describeMachine('npm run bench');
printHeader(machine, `${bytes / MiB} MiB`);
const lines: Line[] = [];
for (const scatter of ['runs', 'random'] as const) {
  const space = scatteredSpace(scatter);
  for (const workers of WORKERS) lines.push(...(await benchCase(space, scatter, workers)));
}
show(lines);
writeJson(flags.json, { machine, bytes, rounds, lines });
