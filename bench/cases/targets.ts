/** The lines of the target table that are about dumps into memory. */
import type { BenchCase } from '../case.ts';
import { dumpLines } from '../dumps.ts';
import { type Line, toLine } from '../line.ts';
import type { Pattern } from '../scatter.ts';
import { TARGETS } from '../targets.ts';

export const targets: BenchCase = {
  name: 'targets',
  about: 'dumps into memory beside the copy limit, as the table of targets has them',
  async run(stage) {
    const { bytes } = stage.options;
    const workers = Math.min(2, stage.workers);
    const of = this.name;
    const runs: Pattern = { bytes, run: 16, zeroPercent: 0 };
    const lines: Line[] = [];
    const bare = { output: 'memory', mode: 'bare' } as const;
    const one = {
      of,
      pattern: runs,
      workers: 1,
      dumps: [{ output: 'memory', mode: 'defaults' }],
    } as const;
    const single = await dumpLines(stage, one);
    lines.push(...single);
    const both = await dumpLines(stage, {
      ...one,
      workers,
      dumps: [
        { ...bare, target: TARGETS.memoryRuns },
        { output: 'memory', mode: 'defaults', target: TARGETS.memoryDefaults },
      ],
    });
    lines.push(...both, speedup(of, single.at(-1)!, both.at(-1)!));
    const random = { ...runs, run: 1 };
    const randomDumps = [{ ...bare, target: TARGETS.memoryRandom }];
    lines.push(...(await dumpLines(stage, { of, pattern: random, workers, dumps: randomDumps })));
    const fifth = { ...runs, zeroPercent: 20 };
    const zeroDumps = [
      { output: 'memory', mode: 'zero test', target: TARGETS.memoryZeroTest },
    ] as const;
    lines.push(...(await dumpLines(stage, { of, pattern: fifth, workers, dumps: zeroDumps })));
    return { lines };
  },
};

/** How many times as quick the second line is; of the medians, since their rounds differ. */
function speedup(of: string, one: Line, two: Line): Line {
  return toLine(of, {
    name: 'defaults, from 1 to 2 workers',
    parameters: two.parameters,
    unit: '×',
    samples: [one.value!.median / two.value!.median],
    target: TARGETS.twoWorkers,
  });
}
