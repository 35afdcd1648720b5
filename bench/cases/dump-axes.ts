/** Varies one parameter of a dump at a time. The base point is runs of 16 frames on all workers. */
import { freemem } from 'node:os';
import { GiB, MiB } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { type DumpSpec, dumpLines, MODES, type Mode } from '../dumps.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, skippedLine } from '../line.ts';
import { OUTPUTS } from '../outputs.ts';
import type { Pattern } from '../scatter.ts';

const ALL_MODES = Object.keys(MODES) as Mode[];
const IN_MEMORY: readonly DumpSpec[] = ALL_MODES.flatMap((mode) => [
  { output: 'memory', mode },
  { output: 'machine', mode },
]);

function base({ options }: Fixtures): Pattern {
  return { bytes: options.bytes, run: 16, zeroPercent: 0 };
}

export const dumpSinks: BenchCase = {
  name: 'dump-sinks',
  about: 'every sink, bare, with the zero test, with default options',
  async run(fixtures) {
    const lines: Line[] = [];
    for (const output of OUTPUTS) {
      const dumps = ALL_MODES.map((mode) => ({ output, mode }));
      const plan = { of: this.name, pattern: base(fixtures), workers: fixtures.workers, dumps };
      lines.push(...(await dumpLines(fixtures, plan)));
    }
    return { lines };
  },
};

export const dumpRuns: BenchCase = {
  name: 'dump-runs',
  about: 'frames at random, in runs of 16 and 512, all side by side',
  async run(fixtures) {
    const lines: Line[] = [];
    for (const run of [1, 16, 512, 0]) {
      const pattern = { ...base(fixtures), run };
      const plan = { of: this.name, pattern, workers: fixtures.workers, dumps: IN_MEMORY };
      lines.push(...(await dumpLines(fixtures, plan)));
    }
    return { lines };
  },
};

export const dumpWorkers: BenchCase = {
  name: 'dump-workers',
  about: '1, 2, … all cores, the copy limit measured at each',
  async run(fixtures) {
    const lines: Line[] = [];
    for (const workers of fixtures.options.workers) {
      const plan = { of: this.name, pattern: base(fixtures), workers, dumps: IN_MEMORY };
      lines.push(...(await dumpLines(fixtures, plan)));
    }
    return { lines };
  },
};

export const dumpZero: BenchCase = {
  name: 'dump-zero',
  about: 'no zero pages, 20 %, 80 %; the limit copies what is stored',
  async run(fixtures) {
    const lines: Line[] = [];
    const dumps = IN_MEMORY.filter(({ mode }) => mode !== 'bare');
    for (const zeroPercent of [0, 20, 80]) {
      const pattern = { ...base(fixtures), zeroPercent };
      const plan = { of: this.name, pattern, workers: fixtures.workers, dumps };
      lines.push(...(await dumpLines(fixtures, plan)));
    }
    return { lines };
  },
};

export const dumpSize: BenchCase = {
  name: 'dump-size',
  about: '64 MiB to 8 GiB, as far as memory allows',
  async run(fixtures) {
    const { isQuick, rounds } = fixtures.options;
    const sizes = isQuick ? [16 * MiB, 64 * MiB] : [64 * MiB, GiB, 4 * GiB, 8 * GiB];
    const dumps = IN_MEMORY.filter(({ mode }) => mode !== 'zero test');
    const lines: Line[] = [];
    for (const bytes of sizes) {
      fixtures.dropSpace();
      // For the machine, the image, the copy limit and the tables.
      const needed = 2.3 * bytes + 2.5 * GiB;
      if (!isQuick && freemem() < needed) {
        const why = `${(needed / GiB).toFixed(1)} GiB of free memory are needed`;
        lines.push(skippedLine(this.name, `memory sink, ${bytes / GiB} GiB`, why));
        continue;
      }
      const pattern = { ...base(fixtures), bytes };
      const few = bytes > GiB ? Math.min(rounds, 3) : rounds;
      const plan = { of: this.name, pattern, workers: fixtures.workers, dumps, rounds: few };
      lines.push(...(await dumpLines(fixtures, plan)));
    }
    fixtures.dropSpace();
    return { lines };
  },
};
