/** A living process of a known size, for the cases that read one. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const GiB = 2 ** 30;

export class TargetProcess {
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.pid = child.pid!;
    this.#child = child;
  }

  /** Starts a process with `bytes` of memory that is not zero, and waits until it has written it. */
  static async start(bytes: number): Promise<TargetProcess> {
    const url = new URL('./threads/target-process.mjs', import.meta.url);
    const child = fork(url, [String(bytes)], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    await once(child, 'message');
    return new TargetProcess(child);
  }

  /** Where its memory lies, in whole MiB: [address, bytes] of each stretch. */
  memory(bytes: number): (readonly [start: number, length: number])[] {
    const found: (readonly [number, number])[] = [];
    const part = Math.min(bytes, GiB);
    for (const line of readFileSync(`/proc/${this.pid}/maps`, 'utf8').split('\n')) {
      const [range = '', prot] = line.split(' ');
      const [start = 0, end = 0] = range.split('-').map((text) => Number.parseInt(text, 16));
      if (prot !== 'rw-p' || end - start < part) continue;
      const first = Math.ceil(start / 2 ** 20) * 2 ** 20;
      found.push([first, Math.floor((end - first) / 2 ** 20) * 2 ** 20]);
    }
    return found;
  }

  async end(): Promise<void> {
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}
