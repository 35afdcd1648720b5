/**
 * Measures `dump --pid --no-sync` as a whole command, from its start to its end, beside what a user
 * would take instead: gcore, and CRIU where it is installed. The same is measured of a dump that
 * writes a core file, as gcore does. Nobody waits for the disk. The commands run in turn, first with
 * a warm page cache and then with a cold one.
 */
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GiB, MiB, PAGE_SIZE } from 'mmdump';
import { reasonOf } from '../../src/shared/errors.ts';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, type LineParts, skippedLine, toLine } from '../line.ts';
import { LiveProcess } from '../live-process.ts';
import { measure, type Samples, samplesOf, type Task, type Tasks } from '../measure.ts';
import { availableBytes, dropPageCache, whyNoDrop } from '../page-cache.ts';
import { hasProgram, type ProgramRun, runProgram, settleDisk } from '../programs.ts';
import { quotients } from '../statistics.ts';
import { TARGETS, type Target } from '../targets.ts';

const COMMAND = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));
const DUMP = 'mmdump dump --pid --no-sync';
const CORE = 'mmdump dump --pid --format elf --no-sync';
const EMPTY = 'empty Node';
const PHASES = ['scan', 'load', 'plan', 'copy', 'commit', 'other'] as const;
const ROUNDS_MAX = 3;

/** The times and counts in the output of `dump --pid --json` that are used here. */
interface DumpJson {
  readonly ms: { readonly [phase: string]: number };
  readonly import: {
    readonly contentPages: number;
    readonly ms: { readonly [part: string]: number };
  };
}

/** A command that is measured. */
interface Command {
  run(): Promise<ProgramRun>;
  /** The most bytes that were resident, by round; empty where that is not known. */
  readonly peaks: number[];
  /** What the command says about its phases. */
  phasesOf?(run: ProgramRun): { readonly [phase: string]: number };
}
type Commands = { readonly [name: string]: Command };

/** A peer that cannot be measured here, and why. */
type Skipped = { readonly [peer: string]: string };

/** What belongs to one process that is dumped. */
interface Subject {
  readonly live: LiveProcess;
  /** Bytes of memory that mmdump has found in the process. */
  bytes: number;
}

function dumpCommand(subject: Subject, fixtures: Fixtures, format: 'cpt' | 'elf'): Command {
  const path = fixtures.path(`.${format}`);
  const where = ['--pid', `${subject.live.pid}`, '-o', path, '--no-sync', '--format', format];
  const how = ['--workers', `${fixtures.workers}`, '--json', '--quiet'];
  return {
    peaks: [],
    async run() {
      try {
        return await runProgram(process.execPath, [COMMAND, 'dump', ...where, ...how]);
      } finally {
        rmSync(path, { force: true });
      }
    },
    phasesOf({ ms, output }) {
      const report = JSON.parse(output) as DumpJson;
      subject.bytes = report.import.contentPages * PAGE_SIZE;
      const { scan = 0, load = 0 } = report.import.ms;
      const { plan = 0, copy = 0, commit = 0 } = report.ms;
      const known = { scan, load, plan, copy, commit };
      return { ...known, other: ms - Object.values(known).reduce((sum, each) => sum + each, 0) };
    },
  };
}

function gcoreCommand({ live }: Subject, fixtures: Fixtures): Command {
  const prefix = fixtures.path('.core');
  return {
    peaks: [],
    async run() {
      try {
        return await runProgram('gcore', ['-o', prefix, `${live.pid}`]);
      } finally {
        rmSync(`${prefix}.${live.pid}`, { force: true });
      }
    },
  };
}

function criuCommand(criu: string, { live }: Subject, fixtures: Fixtures): Command {
  const how = ['--leave-running', '--shell-job'];
  return {
    peaks: [],
    async run() {
      const folder = fixtures.folder();
      try {
        return await runProgram(criu, ['dump', '-t', `${live.pid}`, '-D', folder, ...how]);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}

/** The commands that work here. Each has run once. */
async function commandsOf(
  subject: Subject,
  fixtures: Fixtures,
): Promise<{ readonly commands: Commands; readonly skipped: Skipped }> {
  const { CRIU: criu = 'criu' } = process.env;
  const empty: Command = { peaks: [], run: () => runProgram(process.execPath, ['-e', '0']) };
  const commands: { [name: string]: Command } = {
    [EMPTY]: empty,
    [DUMP]: dumpCommand(subject, fixtures, 'cpt'),
    [CORE]: dumpCommand(subject, fixtures, 'elf'),
  };
  const skipped: { [peer: string]: string } = {};
  const peers = [
    ['gcore', 'gcore', gcoreCommand(subject, fixtures)],
    ['CRIU', criu, criuCommand(criu, subject, fixtures)],
  ] as const;
  for (const [name, program, command] of peers) {
    try {
      if (!hasProgram(program)) throw new Error('it is not installed');
      await command.run();
      commands[name] = command;
    } catch (error) {
      skipped[name] = reasonOf(error).trim().split('\n').at(-1)!; // of its words, the last line
    }
  }
  return { commands, skipped };
}

/** One run of a command, after `prepare` has brought the page cache into the state that is meant. */
function taskOf(command: Command, prepare: () => Promise<unknown>): Task {
  return async () => {
    await prepare();
    const run = await command.run();
    if (run.peakBytes !== undefined) command.peaks.push(run.peakBytes);
    return { ms: run.ms, parts: command.phasesOf?.(run) ?? {} };
  };
}

function tasksOf(commands: Commands, isCold: boolean): Tasks {
  return Object.fromEntries(
    Object.entries(commands).map(([name, command]) => {
      const prepare = async (): Promise<void> => {
        // The second of two runs counts. A virtual machine may give free pages back to its host
        // within seconds (free page reporting), and the next program that takes them, for memory or
        // for a page cache, waits for the host: up to four times as long as the second.
        if (!isCold) await command.run();
        settleDisk();
        if (isCold) dropPageCache();
      };
      return [name, taskOf(command, prepare)];
    }),
  );
}

export const importCase: BenchCase = {
  name: 'import',
  about: 'dump --pid --no-sync as a whole command, beside gcore and CRIU: time and memory',
  async run(fixtures) {
    const lines: Line[] = [];
    fixtures.dropSpace();
    for (const bytes of fixtures.options.liveBytes)
      lines.push(...(await linesFor(bytes, fixtures)));
    return { lines };
  },
};

async function linesFor(bytes: number, fixtures: Fixtures): Promise<Line[]> {
  const needed = 2 * bytes + GiB;
  if (availableBytes() < needed) {
    const why = `a process of ${bytes / MiB} MiB needs ${needed / MiB} MiB of available memory`;
    return [skippedLine('import', `${DUMP}, ${bytes / MiB} MiB`, why, timeTarget('gcore', bytes))];
  }
  const live = await LiveProcess.start(bytes);
  const subject: Subject = { live, bytes };
  try {
    const { commands, skipped } = await commandsOf(subject, fixtures);
    const rounds = Math.min(fixtures.options.rounds, ROUNDS_MAX);
    const warm = await measure(tasksOf(commands, false), rounds, 0);
    const lines = [
      ...timeLines(warm, subject, fixtures, skipped, bytes),
      ...memoryLines(commands, subject, fixtures),
    ];
    const why = fixtures.options.isQuick ? 'not with --quick' : whyNoDrop();
    if (why !== undefined) {
      return [...lines, skippedLine('import', `${DUMP}, cold page cache`, why)];
    }
    const cold = await measure(tasksOf(commands, true), rounds, 0);
    return [...lines, ...timeLines(cold, subject, fixtures, skipped)];
  } finally {
    await live.end();
  }
}

function timeTarget(peer: string, bytes: number): Target {
  if (peer === 'gcore') return TARGETS.importGcore;
  return bytes < 4 * GiB ? TARGETS.importCriu : TARGETS.importCriuLarge;
}

/**
 * The time of each command, and of the dump beside each peer. `targetBytes` is the size by which
 * targets are chosen; a cold page cache has none.
 */
function timeLines(
  samples: Samples,
  subject: Subject,
  { workers }: Fixtures,
  skipped: Skipped,
  targetBytes?: number,
): Line[] {
  const cache = targetBytes === undefined ? 'cold' : 'warm';
  const parameters = { MiB: Math.round(subject.bytes / MiB), workers, cache };
  const shape = { parameters, unit: 'ms', bytes: subject.bytes } as const;
  const own = samplesOf(samples, DUMP);
  const lines = [DUMP, CORE].map((name) => {
    const phases = phasesOf(samples, name);
    return toLine('import', { ...shape, name, samples: samplesOf(samples, name), phases });
  });
  for (const peer of ['gcore', 'CRIU']) {
    const name = `${DUMP}, beside ${peer}`;
    const target = targetBytes === undefined ? undefined : timeTarget(peer, targetBytes);
    if (skipped[peer] !== undefined) {
      const line = skippedLine('import', name, `${peer}: ${skipped[peer]}`, target);
      lines.push({ ...line, parameters });
      continue;
    }
    const theirs = samplesOf(samples, peer);
    lines.push(toLine('import', { ...shape, name: peer, samples: theirs }));
    lines.push(
      toLine('import', { name, parameters, unit: '×', samples: quotients(own, theirs), target }),
    );
  }
  return [...lines, coreLine(samples, parameters, skipped, targetBytes)];
}

/** The dump that writes a core file beside gcore, which writes one, too. */
function coreLine(
  samples: Samples,
  parameters: NonNullable<LineParts['parameters']>,
  { gcore: why }: Skipped,
  targetBytes: number | undefined,
): Line {
  const name = `${CORE}, beside gcore`;
  const target = targetBytes === undefined ? undefined : TARGETS.importCoreGcore;
  if (why !== undefined) {
    return { ...skippedLine('import', name, `gcore: ${why}`, target), parameters };
  }
  const times = quotients(samplesOf(samples, CORE), samplesOf(samples, 'gcore'));
  return toLine('import', { name, parameters, unit: '×', samples: times, target });
}

/** The peak of resident memory of each command, and of the dump beside an empty Node. */
function memoryLines(commands: Commands, { bytes }: Subject, { workers }: Fixtures): Line[] {
  const parameters = { MiB: Math.round(bytes / MiB), workers };
  const dump = commands[DUMP]!.peaks;
  const target = TARGETS.importMemory;
  const beside = `memory of ${DUMP}, beside an empty Node`;
  if (dump.length === 0) {
    return [skippedLine('import', beside, 'there is no C compiler for peak-memory.c', target)];
  }
  const line = (parts: Omit<LineParts, 'parameters' | 'unit'>): Line =>
    toLine('import', { ...parts, parameters, unit: 'MiB' });
  const lines = Object.entries(commands).map(([name, { peaks }]) =>
    line({ name: `peak memory of ${name}`, samples: peaks.map((peak) => peak / MiB) }),
  );
  const empty = commands[EMPTY]!.peaks;
  const allowance = 64 + 8 * workers + (0.01 * bytes) / MiB;
  const samples = dump.map((peak, round) => (peak - empty[round]!) / MiB);
  const limit = { name: 'the allowance', samples: samples.map(() => allowance) };
  return [...lines, line({ name: beside, samples, limit, target })];
}

function phasesOf(samples: Samples, name: string): { [phase: string]: number } {
  const medianOf = (part: string): number => {
    const sorted = [...samplesOf(samples, `${name}: ${part}`)].sort((a, b) => a - b);
    return sorted[sorted.length >> 1]!;
  };
  return Object.fromEntries(PHASES.map((phase) => [phase, medianOf(phase)]));
}
