/** Runs other programs, and measures how long they take. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { compiled } from './compiled.ts';

/** Whether a program can be started. */
export function hasProgram(name: string, args: readonly string[] = ['--version']): boolean {
  const { error } = spawnSync(name, args, { stdio: 'ignore' });
  return error === undefined;
}

/** The output of a program that succeeded, and what it took. */
export interface ProgramRun {
  /** The time from its start to its end. */
  readonly ms: number;
  readonly output: string;
  /** The most bytes that were resident at once; undefined where that is not known. */
  readonly peakBytes: number | undefined;
}

/** Runs a program. Its peak of memory is known where there is a C compiler (peak-memory.c). */
export async function runProgram(name: string, args: readonly string[]): Promise<ProgramRun> {
  const watcher = compiled('peak-memory');
  const command = watcher === undefined ? [name, ...args] : [watcher, name, ...args];
  const start = performance.now();
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const texts = ['', '', ''];
  for (const [index, stream] of child.stdio.slice(1).entries()) {
    (stream as Readable).setEncoding('utf8').on('data', (text: string) => {
      texts[index] += text;
    });
  }
  let ms = Number.NaN;
  child.once('exit', () => {
    ms = performance.now() - start;
  });
  const [code] = await once(child, 'close');
  const [output = '', errors = '', usage = ''] = texts;
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${errors.slice(-500)}`);
  if (watcher === undefined) return { ms, output, peakBytes: undefined };
  const [nanoseconds, kib] = usage.split(' ').map(Number);
  return { ms: nanoseconds! / 1e6, output, peakBytes: kib! * 1024 };
}

/**
 * Waits until the disk is idle. The work that an fsync or a removed file leaves for it makes the
 * next writer wait ten times as long as it writes.
 */
export function settleDisk(): void {
  spawnSync('sync', { stdio: 'ignore' });
}
