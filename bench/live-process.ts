/** A live process of a known size, for the cases that read one. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const GiB = 2 ** 30;

/** A command that starts the process, and the folder that has to be removed afterwards. */
interface Program {
  readonly name: string;
  readonly args: readonly string[];
  readonly folder?: string;
}

/** In C where there is a compiler: with Node, gdb would mostly work on Node's own mappings. */
function findProgram(bytes: number): Program {
  const folder = mkdtempSync(join(tmpdir(), 'mmdump-bench-'));
  const source = fileURLToPath(new URL('./threads/live-process.c', import.meta.url));
  const name = join(folder, 'live-process');
  const built = spawnSync('gcc', ['-O2', '-o', name, source], { stdio: 'ignore' });
  if (built.status === 0) return { name, args: [`${bytes}`], folder };
  rmSync(folder, { recursive: true });
  const script = fileURLToPath(new URL('./threads/live-process.mjs', import.meta.url));
  return { name: process.execPath, args: [script, `${bytes}`] };
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
    const { name, args, folder } = findProgram(bytes);
    const child = spawn(name, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const [text] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
      if (!String(text).startsWith('ready')) throw new Error(`a process ended: ${text}`);
    } finally {
      if (folder !== undefined) rmSync(folder, { recursive: true });
    }
    return new LiveProcess(child, folder === undefined ? 'Node' : 'C');
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
