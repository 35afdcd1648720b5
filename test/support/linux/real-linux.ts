/** Compiles real-linux.c, and runs histories with it on the kernel that runs the tests. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Plan, scriptOf } from './history.ts';
import { nameZeroFiles } from './transcript.ts';

const SOURCE = fileURLToPath(new URL('./real-linux.c', import.meta.url));
const HEAP = { op: 'heap', process: 0, at: 0 } as const;
const TMPFS_MAGIC = 0x0102_1994;

export class RealLinux {
  readonly #directory: string;
  readonly #program: string;
  readonly #tmpfs: string;
  #canPlaceHeap: boolean | undefined;

  private constructor(directory: string, program: string) {
    this.#directory = directory;
    this.#program = program;
    this.#tmpfs = isTmpfs('/dev/shm') ? '/dev/shm' : directory;
  }

  /** Returns the reason, instead, if there is no such kernel or no C compiler. */
  static build(): RealLinux | string {
    if (process.platform !== 'linux' || process.arch !== 'x64') return 'this is no Linux on x86-64';
    const directory = mkdtempSync(join(tmpdir(), 'mmdump-real-linux-'));
    const program = join(directory, 'real-linux');
    // Link statically if possible: a small address space is listed quickly.
    for (const how of [['-static'], []]) {
      try {
        execFileSync('cc', ['-O1', ...how, '-o', program, SOURCE], { stdio: 'pipe' });
        return new RealLinux(directory, program);
      } catch {
        // Without libc.a, try the next; without a compiler, both fail.
      }
    }
    rmSync(directory, { recursive: true });
    return 'there is no C compiler';
  }

  /** Whether the kernel lets the heap be placed; otherwise no history can have one. */
  get canPlaceHeap(): boolean {
    this.#canPlaceHeap ??= this.run({ files: [], steps: [HEAP] })[1] === '= 0';
    return this.#canPlaceHeap;
  }

  /** Returns the transcript of a history, line by line. */
  run(plan: Plan): string[] {
    const { status, stdout, stderr } = spawnSync(this.#program, [this.#directory, this.#tmpfs], {
      input: scriptOf(plan),
      encoding: 'latin1',
      timeout: 300_000,
      maxBuffer: 128 * 1024 * 1024,
    });
    const lines = stdout.split('\n');
    const end = lines.indexOf('end');
    if (status !== 0 || end < 0) {
      throw new Error(`real-linux failed (${status}): ${stderr}\n${lines.slice(-20).join('\n')}`);
    }
    return nameZeroFiles(lines.slice(0, end));
  }

  close(): void {
    rmSync(this.#directory, { recursive: true });
  }
}

function isTmpfs(path: string): boolean {
  return existsSync(path) && statfsSync(path).type === TMPFS_MAGIC;
}
