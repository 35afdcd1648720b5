/**
 * Measures the dump of a live process into a file, end to end, beside the sum of its floors: the
 * least time that it takes to touch as much memory for the first time, to read the process, and to
 * write the file.
 */
import { closeSync, fsyncSync, openSync, rmSync, writevSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MiB, PAGE_SIZE } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { collectGarbage, type Fixtures } from '../fixtures.ts';
import { FloorThreads } from '../floor-threads.ts';
import { type Line, toLine } from '../line.ts';
import { LiveProcess } from '../live-process.ts';
import { measure, type Samples, samplesOf, type Task, type Tasks } from '../measure.ts';
import { type ProgramRun, runProgram, settleDisk } from '../programs.ts';
import { TARGETS } from '../targets.ts';

const COMMAND = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));
/** Bytes that a thread reads or touches at a time: as many as a worker of an import claims. */
const CHUNK = 2 * MiB;
/** A call that writes has 256 views of 64 KiB. */
const VIEW = 0x1_0000;
const VIEWS = 256;
/** CRIU 4 with a process of 1 GiB: a yardstick, since it was measured once, on such a machine. */
const CRIU_MS_PER_GIB = 670;

/** The times and counts in the output of `dump --pid --json` that are used here. */
interface DumpJson {
  readonly ms: { readonly [phase: string]: number };
  readonly import: {
    readonly contentPages: number;
    readonly ms: { readonly [part: string]: number };
  };
}

/** Measures the command from its start to its end, including the start of Node. */
function dumpProcess(pid: number, path: string, workers: number, seen: { pages: number }): Task {
  const args = ['dump', '--pid', `${pid}`, '-o', path, '--json', '--quiet'];
  const run = async (): Promise<ProgramRun> => {
    settleDisk();
    const options = ['--workers', `${workers}`];
    const result = await runProgram(process.execPath, [COMMAND, ...args, ...options]);
    rmSync(path);
    return result;
  };
  return async () => {
    // The second of two runs counts. A virtual machine may give free pages back to its host within
    // seconds (free page reporting). The next program that takes them, for memory or for a page
    // cache, waits for the host: the first of two dumps took up to four times as long as the
    // second. The floors follow directly on each other, so they never wait.
    await run();
    const { ms, output } = await run();
    const report = JSON.parse(output) as DumpJson;
    seen.pages = report.import.contentPages;
    const { scan = 0, load = 0 } = report.import.ms;
    const { plan = 0, copy = 0, commit = 0 } = report.ms;
    const known = { scan, load, plan, copy, commit };
    const other = ms - Object.values(known).reduce((sum, each) => sum + each, 0);
    return { ms, parts: { ...known, other, 'without fsync': ms - commit } };
  };
}

/** The least time that a file takes: gather writes of one thread. One part includes an fsync. */
function writeFloor(buffer: SharedArrayBuffer, bytes: number, path: string): Task {
  const views: Uint8Array[] = [];
  for (let at = 0; at < bytes; at += VIEW) views.push(new Uint8Array(buffer, at, VIEW));
  return async () => {
    settleDisk();
    const fd = openSync(path, 'w', 0o600);
    try {
      const start = performance.now();
      for (let at = 0; at < views.length; at += VIEWS) writevSync(fd, views.slice(at, at + VIEWS));
      const ms = performance.now() - start;
      fsyncSync(fd);
      return { ms, parts: { 'with fsync': performance.now() - start } };
    } finally {
      closeSync(fd);
      rmSync(path);
    }
  };
}

/** Reads as many bytes of the process as it was asked to hold, into memory that was used before. */
function readFloor(
  threads: FloorThreads,
  live: LiveProcess,
  bytes: number,
  buffer: SharedArrayBuffer,
): Task {
  const stretches = live.memory(bytes);
  return async () => {
    let ms = 0;
    let left = bytes;
    for (const [start, length] of stretches) {
      const part = Math.floor(Math.min(left, length) / CHUNK) * CHUNK;
      if (part === 0) continue;
      const message = { pid: live.pid, start, bytes: part, buffer, chunk: CHUNK };
      ms += await threads.run('readProcess', message);
      left -= part;
    }
    return { ms: (ms * bytes) / (bytes - left) };
  };
}

export const importCase: BenchCase = {
  name: 'import',
  about: 'dump --pid, from the start of the command to the finished file, beside its floors',
  async run(fixtures) {
    const { bytes } = fixtures.options;
    const { workers } = fixtures;
    fixtures.dropSpace();
    const live = await LiveProcess.start(bytes);
    const threads = await FloorThreads.create(workers);
    const path = fixtures.path('.cpt');
    const buffer = new SharedArrayBuffer(bytes);
    const seen = { pages: 0 };
    try {
      new Int32Array(buffer).fill(1);
      const tasks: Tasks = {
        'dump --pid': dumpProcess(live.pid, path, workers, seen),
        touch: async () => {
          const fresh = new SharedArrayBuffer(bytes);
          const ms = await threads.run('touch', { buffer: fresh, chunk: CHUNK });
          collectGarbage();
          return { ms };
        },
        read: readFloor(threads, live, bytes, buffer),
        write: writeFloor(buffer, bytes, fixtures.path('.floor')),
      };
      const samples = await measure(tasks, fixtures.options.rounds);
      return { lines: linesOf(samples, fixtures, (seen.pages * PAGE_SIZE) / bytes) };
    } finally {
      await threads.close();
      await live.end();
      rmSync(path, { force: true });
    }
  },
};

/** `more` is the memory that was found in the process, divided by the memory of the floors. */
function linesOf(samples: Samples, fixtures: Fixtures, more: number): Line[] {
  const { bytes } = fixtures.options;
  const { workers } = fixtures;
  const found = Math.round((bytes * more) / MiB);
  const shape = { parameters: { MiB: found, workers }, unit: 'ms', bytes: bytes * more } as const;
  const floor = (part: string): number[] => samplesOf(samples, part).map((ms) => ms * more);
  const sum = (write: string): number[] => {
    const [touch, read, written] = [floor('touch'), floor('read'), floor(write)];
    return touch.map((ms, round) => ms + read[round]! + written[round]!);
  };
  const line = (name: string, from: readonly number[]): Line =>
    toLine('import', { ...shape, name, samples: from });
  const limit = { name: 'the floors, without fsync', samples: sum('write') };
  const whole = { name: 'the floors, with fsync', samples: sum('write: with fsync') };
  const criu = samplesOf(samples, 'dump --pid').map(
    () => (CRIU_MS_PER_GIB * bytes * more) / 2 ** 30,
  );
  const without = samplesOf(samples, 'dump --pid: without fsync');
  const name = 'dump --pid, without fsync';
  const target = TARGETS.importFloors;
  return [
    line('floor: first touch', floor('touch')),
    line('floor: reading /proc/PID/mem', floor('read')),
    line('floor: writing the file', floor('write')),
    toLine('import', {
      ...shape,
      name,
      samples: without,
      limit,
      target,
      phases: phasesOf(samples),
    }),
    toLine('import', {
      ...shape,
      name: 'dump --pid',
      samples: samplesOf(samples, 'dump --pid'),
      limit: whole,
    }),
    toLine('import', {
      ...shape,
      name: `${name}, beside CRIU`,
      samples: without,
      limit: { name: 'CRIU', samples: criu },
      note: `CRIU: ${CRIU_MS_PER_GIB} ms a GiB, measured elsewhere`,
    }),
  ];
}

const PHASES = ['scan', 'load', 'plan', 'copy', 'commit', 'other'] as const;

function phasesOf(samples: Samples): { [phase: string]: number } {
  const medianOf = (part: string): number => {
    const sorted = [...samplesOf(samples, `dump --pid: ${part}`)].sort((a, b) => a - b);
    return sorted[sorted.length >> 1]!;
  };
  return Object.fromEntries(PHASES.map((phase) => [phase, medianOf(phase)]));
}
