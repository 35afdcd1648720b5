/** Measures how the cost of a dump grows with its size, mappings, address range and workers. */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  GiB,
  MiB,
  PAGE_SIZE,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { parametersOf, phasesOf, timedDump } from '../dumps.ts';
import { collectGarbage, type Fixtures, memoryFor } from '../fixtures.ts';
import { type Growth, growthOf } from '../growth.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf } from '../measure.ts';
import { openOutput } from '../outputs.ts';

/** One point of a series. */
interface Point {
  readonly x: number;
  readonly line: Line;
}

const COSTS = ['total', 'plan', 'copy', 'other'] as const;
const WARM_UP = 3;

/** Measures a bare dump of one space into memory. */
async function pointOf(
  of: string,
  fixtures: Fixtures,
  space: AddressSpace,
  workers: number,
  x: number,
  parameters: Line['parameters'],
): Promise<Point> {
  const dumper = await createDumper({ workers });
  const output = openOutput('memory', fixtures, workers);
  try {
    const dump = (): ReturnType<typeof timedDump> => timedDump(dumper, space, output, 'bare');
    const samples = await measure({ dump }, 2 * fixtures.options.rounds, WARM_UP);
    const phases = phasesOf(samples, 'dump');
    const name = 'memory sink, bare';
    const shape = { name, parameters, unit: 'ms', samples: samplesOf(samples, 'dump') } as const;
    return { x, line: toLine(of, { ...shape, phases }) };
  } finally {
    await dumper.close();
    output.release();
    collectGarbage();
  }
}

/** Fits a line through the points of each phase. */
function fits(of: string, against: string, at: string, points: readonly Point[]): Growth[] {
  return COSTS.map((cost) =>
    growthOf({
      of,
      cost,
      against,
      at,
      points: points.map(({ x, line }) => {
        return [x, cost === 'total' ? line.value!.median : line.phases![cost]!];
      }),
    }),
  );
}

function linesOf(points: readonly Point[]): Line[] {
  return points.map(({ line }) => line);
}

export const growthPages: BenchCase = {
  name: 'growth-pages',
  about: 'against pages present, one mapping, frames side by side',
  async run(fixtures) {
    const { workers } = fixtures;
    const most = fixtures.options.bytes / PAGE_SIZE;
    const points: Point[] = [];
    for (let pages = 256; pages <= most; pages *= 4) {
      const pattern = { bytes: pages * PAGE_SIZE, run: 0, zeroPercent: 0 };
      const space = fixtures.space(pattern);
      const parameters = { pages, ...parametersOf(pattern, workers) };
      points.push(await pointOf(this.name, fixtures, space, workers, pages, parameters));
    }
    const at = `1 mapping, ${workers} workers`;
    return { lines: linesOf(points), growth: fits(this.name, 'pages present', at, points) };
  },
};

/** Puts `pages` pages into `mappings` mappings of equal length, with a hole behind each. */
function manyMappings(pages: number, mappings: number): AddressSpace {
  const machine = createMachine({ memory: memoryFor(pages * PAGE_SIZE) });
  const space = machine.createAddressSpace();
  const length = (pages / mappings) * PAGE_SIZE;
  for (let mapping = 0; mapping < mappings; mapping++) {
    const address = 0x1000_0000_0000 + mapping * (length + PAGE_SIZE);
    space.mmap({ address, length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'] });
    space.fill(address, length, (mapping % 255) + 1);
  }
  return space;
}

export const growthVmas: BenchCase = {
  name: 'growth-vmas',
  about: 'against mappings, as many pages in all of them together',
  async run(fixtures) {
    const { workers } = fixtures;
    const pages = fixtures.options.isQuick ? 4096 : 32_768;
    const points: Point[] = [];
    fixtures.dropSpace();
    for (const mappings of [pages / 1024, pages / 128, pages / 16, pages / 2, pages]) {
      const space = manyMappings(pages, mappings);
      const parameters = { mappings, pages, workers };
      points.push(await pointOf(this.name, fixtures, space, workers, mappings, parameters));
    }
    const at = `${pages} pages, ${workers} workers`;
    return { lines: linesOf(points), growth: fits(this.name, 'mappings', at, points) };
  },
};

export const growthRange: BenchCase = {
  name: 'growth-range',
  about: 'against the address range in which 1000 pages are present, 16 GiB to 100 TiB',
  async run(fixtures) {
    const { workers } = fixtures;
    const points: Point[] = [];
    fixtures.dropSpace();
    const all = [16, 128, 1024, 10 * 1024, 100 * 1024];
    for (const gibibytes of fixtures.options.isQuick ? all.slice(0, 3) : all) {
      const { space } = await createWorkload('sparse', {
        size: gibibytes * GiB,
        memory: 64 * MiB,
      });
      const parameters = { 'range GiB': gibibytes, pages: 1000, workers };
      points.push(await pointOf(this.name, fixtures, space, workers, gibibytes, parameters));
    }
    const at = `1000 pages, ${workers} workers`;
    return { lines: linesOf(points), growth: fits(this.name, 'GiB of address range', at, points) };
  },
};

export const growthWorkers: BenchCase = {
  name: 'growth-workers',
  about: 'against workers, up to 8 a core, a dump of 4 MiB: what is left is what workers cost',
  async run(fixtures) {
    const most = Math.min(128, 8 * fixtures.workers);
    const pattern = { bytes: 4 * MiB, run: 0, zeroPercent: 0 };
    const points: Point[] = [];
    const space = fixtures.space(pattern);
    for (let workers = 1; workers <= most; workers *= 2) {
      const parameters = parametersOf(pattern, workers);
      points.push(await pointOf(this.name, fixtures, space, workers, workers, parameters));
    }
    const at = '4 MiB';
    return { lines: linesOf(points), growth: fits(this.name, 'workers', at, points) };
  },
};
