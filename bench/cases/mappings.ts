/**
 * Measures what a mapping costs in a dump: 51 000 mappings of one page, beside the copy limit of as
 * many pages.
 */
import { createDumper, createWorkload, memorySink, PAGE_SIZE } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { bestCopy } from '../copy-limit.ts';
import { MODES } from '../dumps.ts';
import type { Fixtures } from '../fixtures.ts';
import { FloorThreads } from '../floor-threads.ts';
import { type Line, toLine } from '../line.ts';
import { measure, type Samples, samplesOf, type Task, type Timing } from '../measure.ts';
import { TARGETS } from '../targets.ts';

const MAPPINGS = 51_000;
const FEWER_MAPPINGS = 8192;
/** Rounds that are not counted: there is one short loop per mapping, which V8 compiles late. */
const WARM_UP = 10;

const dumpName = (workers: number): string => `dump, workers: ${workers}`;

/** Times dumps by one and by several workers in turn, beside copies by as many threads. */
async function times(fixtures: Fixtures, count: number): Promise<Samples> {
  const { space } = await createWorkload('manymaps', { size: count * PAGE_SIZE });
  const pattern = { bytes: count * PAGE_SIZE, run: 0, zeroPercent: 0 };
  const threads = await FloorThreads.create(fixtures.workers);
  const one = await createDumper({ workers: 1 });
  const all = await createDumper({ workers: fixtures.workers });
  const to = memorySink();
  const dumpBy = (dumper: typeof one) => async (): Promise<Timing> => {
    const { ms } = await dumper.dump(space, { to, ...MODES.bare });
    return { ms: ms.total };
  };
  const tasks: { [name: string]: Task } = {
    ...(await fixtures.limitTasks(pattern, threads)),
    [dumpName(1)]: dumpBy(one),
    [dumpName(fixtures.workers)]: dumpBy(all),
  };
  try {
    return await measure(tasks, 3 * fixtures.options.rounds, WARM_UP);
  } finally {
    await threads.close();
    await one.close();
    await all.close();
    to.release();
  }
}

export const mappings: BenchCase = {
  name: 'mappings',
  about: 'what a mapping costs: a dump of 51 000 mappings of a page, by one and several workers',
  async run(fixtures) {
    const count = fixtures.options.isQuick ? FEWER_MAPPINGS : MAPPINGS;
    const { workers } = fixtures;
    const samples = await times(fixtures, count);
    const limit = bestCopy(samples);
    const parameters = { mappings: count, workers };
    const one = samplesOf(samples, dumpName(1));
    const many = samplesOf(samples, dumpName(workers));
    const beyond = many.map((ms, round) => ((ms - limit.samples[round]!) * 1000) / count);
    const line = (parts: Omit<Parameters<typeof toLine>[1], 'parameters'>): Line =>
      toLine('mappings', { parameters, ...parts });
    return {
      lines: [
        line({ name: 'dump, bare, into memory', unit: 'ms', samples: many }),
        line({
          name: 'a mapping, beyond the copy',
          unit: 'µs',
          samples: beyond,
          target: TARGETS.mapping,
        }),
        line({
          name: `from 1 to ${workers} workers`,
          unit: '×',
          samples: one.map((ms, round) => ms / many[round]!),
          target: TARGETS.mappingWorkers,
        }),
      ],
    };
  },
};
