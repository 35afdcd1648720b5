/** Measures dumps beside the copy limit, for all cases about dumping. */
import {
  type AddressSpace,
  createDumper,
  type Dumper,
  type DumpOptions,
  type DumpReport,
} from 'mmdump';
import { bestCopy } from './copy-limit.ts';
import { COPY_AND_DIGEST, type Fixtures } from './fixtures.ts';
import { FloorThreads } from './floor-threads.ts';
import { type Line, type Parameters, toLine } from './line.ts';
import { measure, type Samples, samplesOf, type Task, type Tasks, type Timing } from './measure.ts';
import { type Output, type OutputKind, openOutput, SINKS } from './outputs.ts';
import { describeRun, type Pattern } from './scatter.ts';
import { median } from './statistics.ts';
import type { Target } from './targets.ts';

/** The options of a dump, by mode. */
export const MODES = {
  bare: { checksum: 'none', zeroPages: 'copy' },
  'zero test': { checksum: 'none' },
  defaults: {},
} as const satisfies { readonly [mode: string]: Omit<DumpOptions, 'to'> };
export type Mode = keyof typeof MODES;

/** One kind of dump that is measured. */
export interface DumpSpec {
  readonly output: OutputKind;
  readonly mode: Mode;
  readonly target?: Target | undefined;
}

export interface DumpPlan {
  readonly of: string; // name of the case
  readonly pattern: Pattern;
  readonly workers: number;
  readonly dumps: readonly DumpSpec[];
  readonly rounds?: number;
}

export function parametersOf({ bytes, run, zeroPercent }: Pattern, workers: number): Parameters {
  return { MiB: bytes / 2 ** 20, frames: describeRun(run), zero: `${zeroPercent} %`, workers };
}

const PHASES = ['lockWait', 'plan', 'copy', 'commit'] as const;

/** Measures one dump. Its parts are the phases, and the time that it would take without fsync. */
export async function timedDump(
  dumper: Dumper,
  space: AddressSpace,
  output: Output,
  mode: Mode,
): Promise<Timing & { readonly report: DumpReport }> {
  const to = output.next();
  const start = performance.now();
  const report = await dumper.dump(space, { to, ...MODES[mode] });
  const ms = performance.now() - start;
  output.remove();
  const parts = Object.fromEntries(PHASES.map((phase) => [phase, report.ms[phase]]));
  const accounted = PHASES.reduce((sum, phase) => sum + report.ms[phase], 0);
  const more = { other: Math.max(0, ms - accounted), 'without fsync': ms - report.ms.commit };
  return { ms, parts: { ...parts, ...more }, report };
}

/** The medians of the phases of a dump that was measured under `name`. */
export function phasesOf(samples: Samples, name: string): { [phase: string]: number } {
  return Object.fromEntries(
    [...PHASES, 'other'].map((phase) => [phase, median(samplesOf(samples, `${name}: ${phase}`))]),
  );
}

/** Measures the dumps of a plan in turn with the copy limit. The first line is the limit's own. */
export async function dumpLines(fixtures: Fixtures, plan: DumpPlan): Promise<Line[]> {
  const { pattern, workers, dumps, rounds = fixtures.options.rounds } = plan;
  const space = fixtures.space(pattern);
  const threads = await FloorThreads.create(workers);
  const dumper = await createDumper({ workers });
  const outputs = new Map<OutputKind, Output>();
  const digests = dumps.some(({ mode }) => mode === 'defaults');
  const limits = await fixtures.limitTasks(pattern, threads, digests);
  const tasks: { [name: string]: Task } = { ...limits };
  for (const { output: kind, mode } of dumps) {
    const output = outputs.get(kind) ?? openOutput(kind, fixtures, workers);
    outputs.set(kind, output);
    tasks[nameOf(kind, mode)] = () => timedDump(dumper, space, output, mode);
  }
  try {
    return linesOf(plan, await measure(tasks as Tasks, rounds));
  } finally {
    await threads.close();
    await dumper.close();
    for (const output of outputs.values()) output.release();
  }
}

function nameOf(kind: OutputKind, mode: Mode): string {
  return `${SINKS[kind]}, ${mode}`;
}

function linesOf({ of, pattern, workers, dumps }: DumpPlan, samples: Samples): Line[] {
  const limit = bestCopy(samples);
  const bytes = pattern.bytes * (1 - pattern.zeroPercent / 100);
  const parameters = parametersOf(pattern, workers);
  const lines = [toLine(of, { ...limit, parameters, unit: 'ms', bytes })];
  for (const { output, mode, target } of dumps) {
    const name = nameOf(output, mode);
    const onDisk = output === 'file' || output === 'split';
    const note = onDisk ? 'without fsync' : undefined;
    const own = samplesOf(samples, onDisk ? `${name}: without fsync` : name);
    const shape = { parameters, unit: 'ms', samples: own, bytes, note } as const;
    lines.push(toLine(of, { ...shape, name, limit, target, phases: phasesOf(samples, name) }));
    if (mode === 'defaults') {
      const floor = { name: COPY_AND_DIGEST, samples: samplesOf(samples, COPY_AND_DIGEST) };
      lines.push(
        toLine(of, { ...shape, name: `${name}, beside ${COPY_AND_DIGEST}`, limit: floor }),
      );
    }
  }
  return lines;
}
