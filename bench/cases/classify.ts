/**
 * Measures classification alone: an estimate is a counting pass, which copies nothing. The time per
 * page is the time of one thread.
 */
import { type AddressSpace, createDumper, createWorkload, type DumpEstimate } from 'mmdump';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, type Timing } from '../measure.ts';
import { describeRun } from '../scatter.ts';
import { TARGETS, type Target } from '../targets.ts';

const MOST_VMAS = 65_530;
const FEWER_VMAS = 8192;
const PAGE = 4096;
const PURE = { zeroPages: 'copy', checksum: 'none' } as const;

/** Estimates that are not counted: V8 compiles the loop of a worker in steps, the last one late. */
const WARM_UP = 10;

/** The times of one estimate. */
async function timing(estimate: () => Promise<DumpEstimate>): Promise<Timing> {
  const { ms, perWorker, mms } = await estimate();
  const workers = perWorker.filter(({ phase }) => phase === 'count');
  const busyMs = workers.reduce((sum, worker) => sum + worker.busyMs, 0);
  const present = mms.reduce((sum, { pages }) => sum + pages.copy + pages.zero + pages.clone, 0);
  const perPage = 1e6 / present;
  return {
    ms: ms.copy + ms.plan,
    parts: { wall: ms.copy * workers.length * perPage, busy: busyMs * perPage },
  };
}

/** Makes two lines: by the duration of the phase, and by the time that the workers were busy. */
async function perPage(
  fixtures: Fixtures,
  space: AddressSpace,
  what: string,
  workers: number,
  target?: Target,
): Promise<Line[]> {
  const dumper = await createDumper({ workers });
  try {
    const rounds = 3 * fixtures.options.rounds;
    const task = (): Promise<Timing> => timing(() => dumper.estimate(space, PURE));
    const samples = await measure({ [what]: task }, rounds, WARM_UP);
    const line = (name: string, part: string, aim?: Target): Line =>
      toLine('classify', {
        name,
        parameters: { workers },
        unit: 'ns/page',
        samples: samplesOf(samples, `${what}: ${part}`),
        target: aim,
      });
    return [
      line(`${what}, phase × workers`, 'wall', target),
      line(`${what}, workers busy`, 'busy'),
    ];
  } finally {
    await dumper.close();
  }
}

export const classify: BenchCase = {
  name: 'classify',
  about: 'classification alone, without the zero test: dense, random frames, sparse, many mappings',
  async run(fixtures) {
    const { bytes, workers } = fixtures.options;
    const lines: Line[] = [];
    for (const run of [0, 1]) {
      const space = fixtures.space({ bytes, run, zeroPercent: 0 });
      const target = run === 0 ? TARGETS.classifyDense : undefined;
      for (const count of workers) {
        lines.push(
          ...(await perPage(fixtures, space, `dense, ${describeRun(run)}`, count, target)),
        );
      }
    }
    fixtures.dropSpace();
    const vmas = fixtures.options.isQuick ? FEWER_VMAS : MOST_VMAS;
    const { space } = await createWorkload('manymaps', { size: vmas * PAGE });
    lines.push(...(await perPage(fixtures, space, `${vmas} mappings of a page`, fixtures.workers)));
    lines.push(await sparse(fixtures));
    return { lines };
  },
};

/** A reserved terabyte with 1000 pages: finding these must not cost what a full terabyte costs. */
async function sparse(fixtures: Fixtures): Promise<Line> {
  const { space } = await createWorkload('sparse');
  const dumper = await createDumper({ workers: fixtures.workers });
  try {
    const task = (): Promise<Timing> => timing(() => dumper.estimate(space, PURE));
    const samples = await measure({ sparse: task }, 3 * fixtures.options.rounds, 3 * WARM_UP);
    return toLine('classify', {
      name: '1 TiB reserved, 1000 pages: plan and classify',
      parameters: { workers: fixtures.workers },
      unit: 'ms',
      samples: samplesOf(samples, 'sparse'),
      target: TARGETS.classifySparse,
    });
  } finally {
    await dumper.close();
  }
}
