/** A live process of a known size, for the cases that read one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compiled } from './compiled.ts';

const GiB = 2 ** 30;

/** A command that starts the process. */
interface Program {
  readonly kind: 'C' | 'Node';
  readonly name: string;
  readonly args: readonly string[];
}

/** In C where there is a compiler: with Node, gdb would mostly work on Node's own mappings. */
function findProgram(bytes: number): Program {
  const name = compiled('live-process');
  if (name !== undefined) return { kind: 'C', name, args: [`${bytes}`] };
  const script = fileURLToPath(new URL('./threads/live-process.mjs', import.meta.url));
  return { kind: 'Node', name: process.execPath, args: [script, `${bytes}`] };
}

export class LiveProcess {
  readonly pid: number;
  /** Which program it is, for the parameters of a line. */
  readonly kind: 'C' | 'Node';
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, kind: 'C' | 'Node') {
    this.pid = child.pid!;
    this.kind = kind;
    this.#child = child;
  }

  /** Starts a process with `bytes` of memory that is not zero, and waits until they are written. */
  static async start(bytes: number): Promise<LiveProcess> {
    const { kind, name, args } = findProgram(bytes);
    const child = spawn(name, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const [text] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    if (!String(text).startsWith('ready')) throw new Error(`a process ended: ${text}`);
    return new LiveProcess(child, kind);
  }

  /** Where its memory lies: [address, bytes] of each mapping that is long enough. */
  memory(bytes: number): (readonly [start: number, length: number])[] {
    const found: (readonly [number, number])[] = [];
    const part = Math.min(bytes, GiB);
    for (const line of readFileSync(`/proc/${this.pid}/maps`, 'utf8').split('\n')) {
      const [range = '', prot] = line.split(' ');
      const [start = 0, end = 0] = range.split('-').map((text) => Number.parseInt(text, 16));
      if (prot === 'rw-p' && end - start >= part) found.push([start, end - start]);
    }
    return found;
  }

  async end(): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
