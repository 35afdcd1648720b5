/** Compiles real-memory.c, and runs its operations on the kernel of this machine. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('./real-memory.c', import.meta.url));

/** Nanoseconds of each timed part of an operation. */
export type Parts = { readonly [part: string]: number };

export class RealMemory {
  readonly #directory: string;
  readonly #program: string;

  private constructor(directory: string, program: string) {
    this.#directory = directory;
    this.#program = program;
  }

  /** Compiles the program. Returns the reason instead if this is not Linux or has no compiler. */
  static build(): RealMemory | string {
    if (process.platform !== 'linux') return 'not Linux';
    const directory = mkdtempSync(join(tmpdir(), 'mmdump-bench-'));
    const program = join(directory, 'real-memory');
    try {
      execFileSync('gcc', ['-O2', '-o', program, SOURCE], { stdio: ['ignore', 'ignore', 'pipe'] });
      return new RealMemory(directory, program);
    } catch (error) {
      rmSync(directory, { recursive: true });
      // If there is a compiler and it fails, the mistake is ours.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return 'no compiler';
    }
  }

  /** Runs one operation once, in a process of its own. */
  run(operation: string, count: number, argument: string | number): Parts {
    const words = [operation, String(count), String(argument)];
    return JSON.parse(execFileSync(this.#program, words, { encoding: 'utf8' })) as Parts;
  }

  close(): void {
    rmSync(this.#directory, { recursive: true });
  }
}
