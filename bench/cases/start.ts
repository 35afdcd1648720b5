/** Measures short commands as a whole, beside a Node that does nothing. */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { BenchCase } from '../case.ts';
import { toLine } from '../line.ts';
import { measure, samplesOf, type Task } from '../measure.ts';
import { runProgram } from '../programs.ts';
import { quotients } from '../statistics.ts';
import { TARGETS } from '../targets.ts';

const COMMAND = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));
const EMPTY = 'an empty Node';
const VERSION = 'mmdump --version';
const DUMP = 'mmdump dump of 1 MiB, --no-sync';
const ROUNDS_MORE = 4;

export const start: BenchCase = {
  name: 'start',
  about: 'mmdump --version and a dump of 1 MiB into a file, beside a Node that does nothing',
  async run(fixtures) {
    const path = fixtures.path('.cpt');
    const task = (...args: readonly string[]): Task => {
      return async () => {
        const { ms } = await runProgram(process.execPath, args);
        rmSync(path, { force: true });
        return { ms };
      };
    };
    const tasks = {
      [EMPTY]: task('-e', '0'),
      [VERSION]: task(COMMAND, '--version'),
      [DUMP]: task(COMMAND, 'dump', '--workload', 'dense:1M', '-o', path, '--no-sync', '--quiet'),
    };
    const samples = await measure(tasks, ROUNDS_MORE * fixtures.options.rounds, 2);
    const empty = samplesOf(samples, EMPTY);
    const lines = [toLine('start', { name: EMPTY, unit: 'ms', samples: empty })];
    for (const [name, target] of [
      [VERSION, TARGETS.startVersion],
      [DUMP, TARGETS.startDump],
    ] as const) {
      const own = samplesOf(samples, name);
      const beside = { name: `${name}, beside ${EMPTY}`, samples: quotients(own, empty), target };
      lines.push(toLine('start', { name, unit: 'ms', samples: own }));
      lines.push(toLine('start', { ...beside, unit: '×' }));
    }
    return { lines };
  },
};
