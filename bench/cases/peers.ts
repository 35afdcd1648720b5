/**
 * Measures what a user could take instead of mmdump, beside a dump into a file and one into memory.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { createDumper } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { timedDump } from '../dumps.ts';
import type { Fixtures } from '../fixtures.ts';
import { type Line, skippedLine, toLine } from '../line.ts';
import { LiveProcess } from '../live-process.ts';
import { measure, samplesOf, type Task, type Tasks, type Timing } from '../measure.ts';
import { openOutput } from '../outputs.ts';
import { hasProgram, runProgram, settleDisk } from '../programs.ts';
import { TARGETS } from '../targets.ts';

const IN_PROCESS = ['v8.serialize', 'structuredClone', 'v86 save_state'] as const;
const FILE_DUMP = 'file sink, bare';
const MEMORY_DUMP = 'memory sink, bare';

/** A peer that could not be measured, and why. */
interface Skipped {
  readonly name: string;
  readonly why: string;
}

/** Peers that run in a process of their own. The process itself measures their time. */
class PeerProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(bytes: number): Promise<PeerProcess> {
    const url = new URL('../threads/peer-process.mjs', import.meta.url);
    const child = fork(url, [String(bytes)], { execArgv: ['--max-old-space-size=4096'] });
    await once(child, 'message');
    return new PeerProcess(child);
  }

  async run(peer: string): Promise<Timing> {
    const over = new AbortController();
    const died = (): void => over.abort();
    this.#child.once('exit', died);
    try {
      const answer = once(this.#child, 'message', { signal: over.signal });
      this.#child.send(peer);
      const [{ ms, failed }] = await answer;
      if (failed !== undefined) throw new Error(failed);
      return { ms };
    } catch (error) {
      throw over.signal.aborted ? new Error('its process died') : error;
    } finally {
      this.#child.off('exit', died);
    }
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

/** Writes a core file of a process of that size with gcore, a program of gdb. */
function gcore(live: LiveProcess, prefix: string): Task {
  return async () => {
    settleDisk();
    const { ms } = await runProgram('gcore', ['-o', prefix, `${live.pid}`]);
    rmSync(`${prefix}.${live.pid}`, { force: true });
    return { ms };
  };
}

function copyFile(bytes: number, fixtures: Fixtures): Task {
  const from = fixtures.path('.from');
  const to = fixtures.path('.to');
  const part = new Uint8Array(2 ** 20).fill(0x5a);
  writeFileSync(from, '');
  for (let at = 0; at < bytes; at += part.length) writeFileSync(from, part, { flag: 'a' });
  return async () => {
    settleDisk();
    const { ms } = await runProgram('cp', [from, to]);
    rmSync(to);
    return { ms };
  };
}

/** Tries each peer once, and leaves out those that do not work here. */
async function peerTasks(
  fixtures: Fixtures,
  live: LiveProcess,
  peers: PeerProcess,
): Promise<{ readonly tasks: Tasks; readonly skipped: readonly Skipped[] }> {
  const all: { [name: string]: Task } = {};
  const skipped: Skipped[] = [];
  if (hasProgram('gcore')) all.gcore = gcore(live, fixtures.path('.core'));
  else skipped.push({ name: 'gcore', why: 'gdb is not installed' });
  if (hasProgram('cp')) all['cp of a file'] = copyFile(fixtures.options.bytes, fixtures);
  else skipped.push({ name: 'cp of a file', why: 'there is no cp' });
  for (const peer of IN_PROCESS) all[peer] = () => peers.run(peer);
  const tasks: { [name: string]: Task } = {};
  for (const [name, task] of Object.entries(all)) {
    try {
      await task();
      tasks[name] = task;
    } catch (error) {
      skipped.push({ name, why: error instanceof Error ? error.message : String(error) });
    }
  }
  return { tasks, skipped };
}

export const peers: BenchCase = {
  name: 'peers',
  about: 'gcore, cp, v8.serialize, structuredClone, v86: of as much memory, in the same rounds',
  async run(fixtures) {
    const { bytes } = fixtures.options;
    const space = fixtures.space({ bytes, run: 16, zeroPercent: 0 });
    const dumper = await createDumper({ workers: fixtures.workers });
    const toFile = openOutput('file', fixtures, fixtures.workers);
    const toMemory = openOutput('memory', fixtures, fixtures.workers);
    const live = await LiveProcess.start(bytes);
    const others = await PeerProcess.start(bytes);
    try {
      const { tasks, skipped } = await peerTasks(fixtures, live, others);
      const rounds = Math.min(fixtures.options.rounds, 3);
      await timedDump(dumper, space, toFile, 'bare');
      await timedDump(dumper, space, toMemory, 'bare');
      const samples = await measure(
        {
          [FILE_DUMP]: () => {
            settleDisk(); // as before the peers that write a file
            return timedDump(dumper, space, toFile, 'bare');
          },
          [MEMORY_DUMP]: () => timedDump(dumper, space, toMemory, 'bare'),
          ...tasks,
        },
        rounds,
        0, // each has been tried once
      );
      const lines = linesOf(fixtures, (name) => samplesOf(samples, name), Object.keys(tasks));
      return { lines: [...lines, ...skippedLines(skipped)] };
    } finally {
      await dumper.close();
      await live.end();
      await others.end();
      for (const output of [toFile, toMemory]) output.release();
      fixtures.removeFiles();
    }
  },
};

function linesOf(
  fixtures: Fixtures,
  samplesBy: (name: string) => readonly number[],
  names: readonly string[],
): Line[] {
  const { bytes } = fixtures.options;
  const parameters = { MiB: bytes / 2 ** 20 };
  const shape = {
    parameters: { ...parameters, workers: fixtures.workers },
    unit: 'ms',
    bytes,
  } as const;
  const file = { ...shape, name: FILE_DUMP, samples: samplesBy(`${FILE_DUMP}: without fsync`) };
  const memory = { ...shape, name: MEMORY_DUMP, samples: samplesBy(MEMORY_DUMP) };
  const lines: Line[] = [];
  for (const name of names) {
    const peer = { name, samples: samplesBy(name) };
    lines.push(toLine('peers', { ...peer, parameters, unit: 'ms', bytes }));
    // A peer that writes a file is compared with a dump into a file, any other with one into
    // memory.
    const writes = name === 'gcore' || name === 'cp of a file';
    const dump = writes ? file : memory;
    const target = name === 'gcore' ? TARGETS.fileGcore : undefined;
    const note = writes ? `${name} is the limit; without fsync` : `${name} is the limit`;
    lines.push(toLine('peers', { ...dump, limit: peer, target, note }));
  }
  return lines;
}

function skippedLines(skipped: readonly Skipped[]): Line[] {
  return skipped.map(({ name, why }) =>
    skippedLine('peers', name, why, name === 'gcore' ? TARGETS.fileGcore : undefined),
  );
}
