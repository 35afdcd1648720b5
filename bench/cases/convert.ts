/**
 * Measures `mmdump convert` of an image and of a core file, as a whole command, beside `cp` of the
 * same file. Nobody waits for the disk.
 */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MiB } from 'mmdump';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, skippedLine, toLine } from '../line.ts';
import { measure, type Samples, samplesOf, type Task } from '../measure.ts';
import { hasProgram, runProgram, settleDisk } from '../programs.ts';
import { TARGETS } from '../targets.ts';

const COMMAND = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));
const FORMATS = ['cpt', 'elf'] as const;
const WAYS = [
  ['cpt', 'elf'],
  ['elf', 'cpt'],
] as const;

type Format = (typeof FORMATS)[number];

export const convert: BenchCase = {
  name: 'convert',
  about: 'convert of an image into a core file and back as whole commands, beside cp of the input',
  async run(fixtures) {
    const { bytes } = fixtures.options;
    if (!hasProgram('cp')) {
      const lines = WAYS.map(([from, to]) =>
        skippedLine('convert', nameOf(from, to), 'cp is not installed', TARGETS.convertCp),
      );
      return { lines };
    }
    fixtures.dropSpace();
    const inputs = { cpt: fixtures.path('.cpt'), elf: fixtures.path('.core') };
    const output = fixtures.path('.out');
    try {
      for (const format of FORMATS) await makeInput(inputs[format], format, bytes);
      const tasks: { [name: string]: Task } = {};
      for (const [from, to] of WAYS) {
        const how = ['--format', to, '--no-sync', '--quiet', '--workers', `${fixtures.workers}`];
        const args = [COMMAND, 'convert', inputs[from], output, ...how];
        tasks[nameOf(from, to)] = writing(output, process.execPath, args);
        tasks[copyOf(from)] = writing(output, 'cp', ['--reflink=never', inputs[from], output]);
      }
      return { lines: linesOf(await measure(tasks, fixtures.options.rounds), fixtures) };
    } finally {
      for (const path of [...Object.values(inputs), output]) rmSync(path, { force: true });
    }
  },
};

function nameOf(from: Format, to: Format): string {
  return `mmdump convert ${from} → ${to}, --no-sync`;
}

function copyOf(format: Format): string {
  return `cp of the ${format} file`;
}

/** Dumps a workload into a file of the format. */
async function makeInput(path: string, format: Format, bytes: number): Promise<void> {
  const what = ['--workload', `dense:${bytes}`, '--format', format];
  await runProgram(process.execPath, [
    COMMAND,
    'dump',
    ...what,
    '-o',
    path,
    '--no-sync',
    '--quiet',
  ]);
}

/** Measures a command that writes a file. The second of two runs counts, as in the case 'import'. */
function writing(output: string, program: string, args: readonly string[]): Task {
  return async () => {
    await runProgram(program, args);
    rmSync(output);
    settleDisk();
    const { ms } = await runProgram(program, args);
    rmSync(output);
    return { ms };
  };
}

function linesOf(samples: Samples, { options: { bytes }, workers }: Fixtures): Line[] {
  const shape = { parameters: { MiB: bytes / MiB, workers }, unit: 'ms', bytes } as const;
  return WAYS.flatMap(([from, to]) => {
    const [name, copy] = [nameOf(from, to), copyOf(from)];
    const limit = { name: copy, samples: samplesOf(samples, copy) };
    const own = { name, samples: samplesOf(samples, name), limit, target: TARGETS.convertCp };
    return [toLine('convert', { ...shape, ...limit }), toLine('convert', { ...shape, ...own })];
  });
}
