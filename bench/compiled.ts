/** Small programs in C that the benchmark needs. They are compiled once per run. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

let folder: string | undefined;
const built = new Map<string, string | undefined>();

/** The path of `bench/threads/NAME.c` as a program; undefined where there is no compiler. */
export function compiled(name: 'live-process' | 'peak-memory'): string | undefined {
  if (!built.has(name)) built.set(name, compile(name));
  return built.get(name);
}

/** Removes the programs. This happens by itself at the end of the process. */
export function removeCompiled(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  folder = undefined;
  built.clear();
}

function compile(name: string): string | undefined {
  if (folder === undefined) {
    folder = mkdtempSync(join(tmpdir(), 'mmdump-bench-'));
    process.once('exit', removeCompiled);
  }
  const source = fileURLToPath(new URL(`./threads/${name}.c`, import.meta.url));
  const program = join(folder, name);
  const { status } = spawnSync('gcc', ['-O2', '-o', program, source], { stdio: 'ignore' });
  return status === 0 ? program : undefined;
}
