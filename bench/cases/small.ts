/** Measures a dump of 1 MiB by a warm dumper, beside a loop over its pages on one thread. */
import { createDumper, MiB, memorySink, PAGE_SIZE } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { MODES, type Mode } from '../dumps.ts';
import { toLine } from '../line.ts';
import { measure, samplesOf, type Timing } from '../measure.ts';
import { TARGETS } from '../targets.ts';

/** Rounds that are not counted, since the code of a dump is compiled over many short dumps. */
const WARM_UP = 200;
const ROUNDS_MORE = 20;
/** Dumps that follow each other without anything between them. */
const IN_A_ROW = 20;

export const small: BenchCase = {
  name: 'small',
  about: 'a dump of 1 MiB by a warm dumper, beside one thread that reads page after page',
  async run(fixtures) {
    const bytes = MiB;
    const workers = Math.min(2, fixtures.workers);
    const space = fixtures.space({ bytes, run: 16, zeroPercent: 0 });
    const [{ start = 0 } = {}] = space.vmas();
    const dumper = await createDumper({ workers });
    const to = memorySink();
    const into = new Uint8Array(bytes);
    const loop = async (): Promise<Timing> => {
      const from = performance.now();
      for (let at = 0; at < bytes; at += PAGE_SIZE) {
        space.read(start + at, into.subarray(at, at + PAGE_SIZE));
      }
      return { ms: performance.now() - from };
    };
    const dumpsOf = (count: number, mode: Mode) => async (): Promise<Timing> => {
      const from = performance.now();
      for (let each = 0; each < count; each++) await dumper.dump(space, { to, ...MODES[mode] });
      return { ms: (performance.now() - from) / count };
    };
    const tasks = {
      loop,
      dump: dumpsOf(1, 'defaults'),
      defaults: dumpsOf(IN_A_ROW, 'defaults'),
      bare: dumpsOf(IN_A_ROW, 'bare'),
    };
    try {
      const samples = await measure(tasks, ROUNDS_MORE * fixtures.options.rounds, WARM_UP);
      const parameters = { MiB: bytes / MiB, workers };
      return {
        lines: [
          toLine('small', {
            name: 'dump, default options, into memory',
            parameters,
            unit: 'ms',
            samples: samplesOf(samples, 'dump'),
            limit: {
              name: 'a loop of mm.read over its pages',
              samples: samplesOf(samples, 'loop'),
            },
            target: TARGETS.small,
            bytes,
          }),
          ...(['defaults', 'bare'] as const).map((mode) =>
            toLine('small', {
              name: `dump, ${mode}, ${IN_A_ROW} in a row`,
              parameters,
              unit: 'ms',
              samples: samplesOf(samples, mode),
              limit: { name: 'a loop of mm.read', samples: samplesOf(samples, 'loop') },
              bytes,
            }),
          ),
        ],
      };
    } finally {
      await dumper.close();
      to.release();
    }
  },
};
