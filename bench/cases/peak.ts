/**
 * Measures the memory that a dump takes while it runs, beside the machine that it dumps: how much
 * larger the process becomes than it was before the dump. The dump goes into a file, whose pages do
 * not belong to the process.
 */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GiB, MiB } from 'mmdump';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { runProgram } from '../programs.ts';
import { TARGETS } from '../targets.ts';

const PROGRAM = fileURLToPath(new URL('../threads/peak-process.mjs', import.meta.url));

/** Dumps a machine with `bytes` of pages in a process of its own. Returns MiB. */
async function peakOf(fixtures: Fixtures, bytes: number): Promise<number> {
  const path = fixtures.path('.cpt');
  const { output } = await runProgram(process.execPath, [
    PROGRAM,
    `${bytes}`,
    `${fixtures.workers}`,
    path,
  ]);
  rmSync(path, { force: true });
  const { before, peak } = JSON.parse(output) as { before: number; peak: number };
  return (peak - before) / MiB;
}

export const peak: BenchCase = {
  name: 'peak',
  about: 'memory that a dump of 1 and of 4 GiB into a file takes beside the machine',
  async run(fixtures) {
    const sizes = fixtures.options.isQuick ? [64 * MiB] : [GiB, 4 * GiB];
    const { workers } = fixtures;
    const lines: Line[] = [];
    for (const bytes of sizes) {
      lines.push(
        toLine('peak', {
          name: 'peak memory of a dump beside the machine',
          parameters: { MiB: bytes / MiB, workers },
          unit: 'MiB',
          samples: [await peakOf(fixtures, bytes)],
          target: TARGETS.peak,
        }),
      );
    }
    return { lines };
  },
};
