/**
 * The benchmark runs every case once and prints medians with their spread, each beside its limit,
 * which is measured in the same rounds. docs/PERFORMANCE.md explains the limits and the targets.
 *
 *   npm run bench                              everything
 *   npm run bench -- --list                    what there is
 *   npm run bench -- --only targets,import     some of it
 *   npm run bench -- --quick --json results.json --plots plots
 */
import { CASES, chooseCases } from './cases/all.ts';
import { Fixtures } from './fixtures.ts';
import type { Growth } from './growth.ts';
import type { Line } from './line.ts';
import { type BenchOptions, parseOptions } from './options.ts';
import { writePlots } from './plots.ts';
import { describeMachine, printHeader, writeJson } from './results.ts';
import { showGrowth, showLines, showTargets } from './show.ts';

const MiB = 2 ** 20;

const options = parseOptions(process.argv.slice(2));
if (options.list) {
  for (const { name, about } of CASES) process.stdout.write(`${name.padEnd(16)}${about}\n`);
} else {
  await runCases(options);
}

async function runCases(options: BenchOptions): Promise<void> {
  const chosen = chooseCases(options.only);
  const machine = describeMachine('npm run bench');
  const { bytes, rounds, workers } = options;
  printHeader(machine, `${bytes / MiB} MiB, ${rounds} rounds, ${workers.join(', ')} workers`);
  const fixtures = new Fixtures(options);
  const lines: Line[] = [];
  const growth: Growth[] = [];
  process.once('exit', () => fixtures.removeFiles());
  // Without a handler, a process that is ended from outside would leave gigabytes behind.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => process.exit(130));
  for (const each of chosen) {
    const start = performance.now();
    process.stderr.write(`${each.name} …\n`);
    const result = await each.run(fixtures);
    lines.push(...result.lines);
    growth.push(...(result.growth ?? []));
    const seconds = (performance.now() - start) / 1000;
    process.stdout.write(`\n${each.name}: ${each.about} (${seconds.toFixed(0)} s)\n`);
    if (result.lines.length > 0) showLines(result.lines);
    if (result.growth !== undefined) showGrowth(result.growth);
  }
  showTargets(lines);
  writeJson(options.json, { machine, options, lines, growth });
  if (options.plots !== undefined) writePlots({ machine, lines, growth }, options.plots);
}
