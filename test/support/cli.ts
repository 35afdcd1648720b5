/** The command line, run as its users run it, in a folder of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const CLI: string = fileURLToPath(new URL('../../dist/main/cli/mmdump.js', import.meta.url));

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CliFolder {
  readonly path: string = mkdtempSync(join(tmpdir(), 'mmdump-cli-'));

  readonly mmdump = (...args: string[]): Result => this.run([CLI, ...args]);

  /** Node, with arguments of its own. */
  run(args: readonly string[]): Result {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: this.path,
      encoding: 'utf8',
    });
    return { status, stdout, stderr };
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}

/** Exactly one line on stderr, no stack trace, and what it must say. */
export function expectFailure(result: Result, status: number, ...words: string[]): void {
  expect(result.stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(result.stderr).not.toMatch(/\n\s+at /);
  for (const word of words) expect(result.stderr).toContain(word);
  expect(result.status).toBe(status);
}

export async function started(script: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}

export function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2)[0]!;
}
