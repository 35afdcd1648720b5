/**
 * Measures dumps into memory, which several targets are about. The sink that lies in the machine's
 * own memory has to reach the targets; an ordinary memory sink stands beside it.
 */
import type { BenchCase } from '../case.ts';
import { type DumpSpec, dumpLines, type Mode } from '../dumps.ts';
import { type Line, toLine } from '../line.ts';
import type { Pattern } from '../scatter.ts';
import { TARGETS, type Target } from '../targets.ts';

function both(mode: Mode, target?: Target): DumpSpec[] {
  return [
    { output: 'machine', mode, target },
    { output: 'memory', mode },
  ];
}

export const targets: BenchCase = {
  name: 'targets',
  about: 'dumps into memory beside the copy limit, as the table of targets has them',
  async run(fixtures) {
    const { bytes } = fixtures.options;
    const of = this.name;
    const pattern: Pattern = { bytes, run: 16, zeroPercent: 0 };
    const workers = Math.min(2, fixtures.workers);
    const at = { of, pattern, workers };
    const one = await dumpLines(fixtures, { ...at, workers: 1, dumps: both('defaults') });
    const two = await dumpLines(fixtures, {
      ...at,
      dumps: [...both('bare', TARGETS.memoryRuns), ...both('defaults', TARGETS.memoryDefaults)],
    });
    const random = await dumpLines(fixtures, {
      ...at,
      pattern: { ...pattern, run: 1 },
      dumps: [
        ...both('bare', TARGETS.memoryRandom),
        ...both('defaults', TARGETS.memoryDefaultsRandom),
      ],
    });
    const fifth = await dumpLines(fixtures, {
      ...at,
      pattern: { ...pattern, zeroPercent: 20 },
      dumps: both('zero test', TARGETS.memoryZeroTest),
    });
    return { lines: [...one, ...two, speedup(of, one, two), ...random, ...fifth] };
  },
};

/**
 * The quotient of the times of one and two workers. Of medians, since the rounds are not the same.
 */
function speedup(of: string, one: readonly Line[], two: readonly Line[]): Line {
  const { name } = one[1]!; // the first line is the copy limit
  const before = one[1]!.value!.median;
  const line = two.find((each) => each.name === name)!;
  return toLine(of, {
    name: 'defaults, from 1 to 2 workers',
    parameters: line.parameters,
    unit: '×',
    samples: [before / line.value!.median],
    target: TARGETS.twoWorkers,
  });
}
