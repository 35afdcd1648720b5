/**
 * Measures the dump of a live process into a file beside the least times that its parts can take:
 * to touch as much memory for the first time, to read the process, and to write the file.
 */
import { closeSync, openSync, rmSync, writevSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MiB } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { collectGarbage } from '../fixtures.ts';
import { FloorThreads } from '../floor-threads.ts';
import { type Line, toLine } from '../line.ts';
import { LiveProcess } from '../live-process.ts';
import { measure, type Samples, samplesOf, type Task, type Tasks } from '../measure.ts';
import { type ProgramRun, runProgram, settleDisk } from '../programs.ts';

const COMMAND = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));
const DUMP = 'mmdump dump --pid --no-sync';
/** Bytes that a thread reads or touches at a time: as many as a worker of an import claims. */
const CHUNK = 2 * MiB;
/** A call that writes has 256 views of 64 KiB. */
const VIEW = 0x1_0000;
const VIEWS = 256;

/** Measures the command from its start to its end, including the start of Node. */
function dumpProcess(pid: number, path: string, workers: number): Task {
  const where = ['--pid', `${pid}`, '-o', path, '--no-sync', '--quiet'];
  const run = async (): Promise<ProgramRun> => {
    settleDisk();
    const args = [COMMAND, 'dump', ...where, '--workers', `${workers}`];
    const result = await runProgram(process.execPath, args);
    rmSync(path);
    return result;
  };
  return async () => {
    // The second of two runs counts, as in the case 'import'. The floors follow directly on each
    // other, so they never wait for the host of a virtual machine.
    await run();
    return await run();
  };
}

/** The least time that a file takes: gather writes of one thread, without an fsync. */
function writeFloor(buffer: SharedArrayBuffer, bytes: number, path: string): Task {
  const views: Uint8Array[] = [];
  for (let at = 0; at < bytes; at += VIEW) views.push(new Uint8Array(buffer, at, VIEW));
  return async () => {
    settleDisk();
    const fd = openSync(path, 'w', 0o600);
    try {
      const start = performance.now();
      for (let at = 0; at < views.length; at += VIEWS) writevSync(fd, views.slice(at, at + VIEWS));
      return { ms: performance.now() - start };
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

export const importFloors: BenchCase = {
  name: 'import-floors',
  about: 'dump --pid --no-sync, beside first touch, reading the process and writing a file',
  async run(fixtures) {
    const { bytes } = fixtures.options;
    const { workers } = fixtures;
    fixtures.dropSpace();
    const live = await LiveProcess.start(bytes);
    const threads = await FloorThreads.create(workers);
    const path = fixtures.path('.cpt');
    const buffer = new SharedArrayBuffer(bytes);
    try {
      new Int32Array(buffer).fill(1);
      const tasks: Tasks = {
        [DUMP]: dumpProcess(live.pid, path, workers),
        touch: async () => {
          const fresh = new SharedArrayBuffer(bytes);
          const ms = await threads.run('touch', { buffer: fresh, chunk: CHUNK });
          collectGarbage();
          return { ms };
        },
        read: readFloor(threads, live, bytes, buffer),
        write: writeFloor(buffer, bytes, fixtures.path('.floor')),
      };
      return { lines: linesOf(await measure(tasks, fixtures.options.rounds), bytes, workers) };
    } finally {
      await threads.close();
      await live.end();
      rmSync(path, { force: true });
    }
  },
};

function linesOf(samples: Samples, bytes: number, workers: number): Line[] {
  const shape = { parameters: { MiB: bytes / MiB, workers }, unit: 'ms', bytes } as const;
  const [touch, read, write] = ['touch', 'read', 'write'].map((name) => samplesOf(samples, name));
  const line = (name: string, from: readonly number[]): Line =>
    toLine('import-floors', { ...shape, name, samples: from });
  const sum = read!.map((ms, round) => ms + write![round]!);
  return [
    line('floor: first touch', touch!),
    line('floor: reading /proc/PID/mem', read!),
    line('floor: writing the file', write!),
    toLine('import-floors', {
      ...shape,
      name: DUMP,
      samples: samplesOf(samples, DUMP),
      limit: { name: 'reading and writing', samples: sum },
    }),
  ];
}
