/**
 * Measures what simulated memory costs, beside the same operations on the kernel of this machine.
 *
 *   npm run bench:memory                          faults and copies over 256 MiB, a fork of 1 GiB
 *   npm run bench:memory -- --size 64M --rounds 9 --only fork --json results.json
 *
 * The simulated and the real side take turns, round by round, because a shared machine drifts: read
 * the ratios. Every round has a ratio of times, simulated / real, also where the values are GB/s,
 * and the line shows the median of these. This is not done with tinybench, because the real side is
 * a process that times itself, and because most operations use up what they work on: a sample is
 * one run over many pages or calls.
 */
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { GiB, MiB, PAGE_SIZE } from 'mmdump';
import { parseSize, wholeNumber } from '../src/main/cli/sizes.ts';
import { type LineOf, type MemoryCase, memoryCases } from './memory-cases.ts';
import { type Parts, RealMemory } from './real-memory.ts';
import { describeMachine, printHeader, printTable, writeJson } from './results.ts';
import { median } from './statistics.ts';

const { values: flags } = parseArgs({
  options: {
    size: { type: 'string', default: '256M' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' }, // operations whose name begins with this
    json: { type: 'string' },
  },
});
const bytes = benchSize(flags.size);
const rounds = wholeNumber(1, 100)(flags.rounds);

function benchSize(text: string): number {
  const size = parseSize(text);
  if (size >= MiB && size <= 2 * GiB && size % MiB === 0) return size;
  throw new RangeError(`--size ${text}: expected whole MiB, 1M to 2G`);
}

interface Line {
  readonly name: string;
  readonly unit: string;
  readonly simulated: number; // median, in the unit
  readonly real: number | null;
  /** Median over the rounds of simulated time / real time; null where there is no real side. */
  readonly ratio: number | null;
  readonly ratioSpread: readonly [number, number] | null;
}

/** Converts nanoseconds into the unit of the line. */
function inUnit({ unit, amount }: LineOf, nanoseconds: number): number {
  if (unit === 'GB/s') return amount / nanoseconds;
  const scale = { 'ns/page': 1, 'µs/pair': 1e3, 'ms/GiB': 1e6 }[unit];
  return nanoseconds / amount / scale;
}

function benchCase(each: MemoryCase, real: RealMemory | null): Line[] {
  const run = each.prepare();
  run(); // compiles the code and uses the frames once
  const simulatedRuns: Parts[] = [];
  const realRuns: Parts[] = [];
  for (let round = 0; round < rounds; round++) {
    simulatedRuns.push(run());
    if (real !== null) realRuns.push(real.run(each.operation, each.count, each.argument));
  }
  return each.lines.map((line) => toLine(line, simulatedRuns, realRuns));
}

function toLine(line: LineOf, simulated: readonly Parts[], real: readonly Parts[]): Line {
  const { name, part, unit } = line;
  const value = (runs: readonly Parts[]): number =>
    inUnit(line, median(runs.map((parts) => parts[part]!)));
  const ratios = real.map((parts, round) => simulated[round]![part]! / parts[part]!);
  const isAlone = real.length === 0;
  return {
    name,
    unit,
    simulated: value(simulated),
    real: isAlone ? null : value(real),
    ratio: isAlone ? null : median(ratios),
    ratioSpread: isAlone ? null : [Math.min(...ratios), Math.max(...ratios)],
  };
}

function show(lines: readonly Line[], whyNot: string): void {
  const digits = (value: number): string => value.toFixed(value < 100 ? 2 : 0);
  printTable(
    ['line', 'unit', 'simulated', 'real', 'time simulated / real', 'min–max'],
    lines.map(({ name, unit, simulated, real, ratio, ratioSpread }) => [
      name,
      unit,
      digits(simulated),
      real === null ? '' : digits(real),
      ratio === null ? whyNot : digits(ratio),
      ratioSpread === null ? '' : ratioSpread.map(digits).join('–'),
    ]),
  );
}

const machine = describeMachine('npm run bench:memory');
printHeader(machine, `${bytes / MiB} MiB, ${rounds} rounds`);
const built = RealMemory.build();
const real = typeof built === 'string' ? null : built;
const path = join(tmpdir(), `mmdump-bench-${process.pid}`);
const lines: Line[] = [];
try {
  for (const each of memoryCases(bytes / PAGE_SIZE, path)) {
    if (each.operation.startsWith(flags.only)) lines.push(...benchCase(each, real));
  }
} finally {
  rmSync(path, { force: true });
  real?.close();
}
show(lines, typeof built === 'string' ? built : '');
writeJson(flags.json, { machine, bytes, rounds, lines });
