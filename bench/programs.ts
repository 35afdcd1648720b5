/** Runs other programs, and measures how long they take. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** Whether a program can be started. */
export function hasProgram(name: string, args: readonly string[] = ['--version']): boolean {
  const { error } = spawnSync(name, args, { stdio: 'ignore' });
  return error === undefined;
}

/** The output of a program that succeeded, and the time from its start to its end. */
export interface ProgramRun {
  readonly ms: number;
  readonly output: string;
}

export async function runProgram(name: string, args: readonly string[]): Promise<ProgramRun> {
  const start = performance.now();
  const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { output: '', errors: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    texts.output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    texts.errors += text;
  });
  let ms = Number.NaN;
  child.once('exit', () => {
    ms = performance.now() - start;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${texts.errors.slice(-500)}`);
  return { ms, output: texts.output };
}

/**
 * Waits until the disk is idle. The work that an fsync or a removed file leaves for it makes the
 * next writer wait ten times as long as it writes.
 */
export function settleDisk(): void {
  spawnSync('sync', { stdio: 'ignore' });
}
