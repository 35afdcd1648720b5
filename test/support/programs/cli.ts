/**
 * Runs the command line in a folder of its own, either as users run it or inside the process of the
 * test. The latter takes a fifth of the time, and suffices to test arguments and answers. Whatever is
 * printed with --json is checked against its schema.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect } from 'vitest';
import { checkJsonOutput } from './json-schemas.ts';

export const CLI: string = fileURLToPath(
  new URL('../../../dist/main/cli/mmdump.js', import.meta.url),
);

delete process.env.FORCE_COLOR; // tests read what is printed, whatever their terminal wants

/** The built program, as in the package. */
const program = import(new URL('./program.js', pathToFileURL(CLI)).href) as Promise<
  typeof import('../../../src/main/cli/program.ts')
>;

export interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CliFolder {
  readonly path: string = mkdtempSync(join(tmpdir(), 'mmdump-cli-'));

  readonly mmdump = (...args: string[]): Result => {
    const result = this.run([CLI, ...args]);
    checkJsonOutput(args, result.stdout);
    return result;
  };

  /** Runs node with its own arguments. */
  run(args: readonly string[]): Result {
    return this.runProgram(process.execPath, args);
  }

  /** Runs any program. */
  runProgram(program: string, args: readonly string[]): Result {
    const { status, stdout, stderr } = spawnSync(program, args, {
      cwd: this.path,
      encoding: 'utf8',
    });
    return { status, stdout, stderr };
  }

  /**
   * Runs the same command in this process, one at a time. Must not be used for a command that ends
   * by a signal or a time-out, because that ends the process.
   */
  readonly inside = async (...args: string[]): Promise<Result> => {
    const { stdout, stderr, exitCode } = process;
    const { runProgram } = await program;
    const outputs = [stdout, stderr].map((stream) => divert(stream));
    const folder = process.cwd();
    process.chdir(this.path);
    process.exitCode = undefined;
    try {
      await runProgram(args);
      const status = Number(process.exitCode ?? 0);
      checkJsonOutput(args, outputs[0]!.text());
      return { status, stdout: outputs[0]!.text(), stderr: outputs[1]!.text() };
    } finally {
      process.exitCode = exitCode;
      process.chdir(folder);
      for (const output of outputs) output.end();
    }
  };

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}

/** Expects exactly one line on stderr, which contains `words` and is not a stack trace. */
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

/** Captures what is written to a stream, until `end`. */
function divert(stream: NodeJS.WriteStream): { text(): string; end(): void } {
  const { write } = stream;
  let text = '';
  stream.write = (chunk: string | Uint8Array): boolean => {
    text += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    return true;
  };
  return {
    text: () => text,
    end: () => {
      stream.write = write;
    },
  };
}
