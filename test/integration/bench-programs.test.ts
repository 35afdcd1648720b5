/**
 * What the benchmark measures of other programs. Invariants checked: the output and the time are the
 * program's own · the peak of memory counts all threads, and the child that a script waits for, but
 * not the process that started it · a program that fails is an error with its words.
 */
import { MiB } from 'mmdump';
import { afterAll, expect, it } from 'vitest';
import { compiled, removeCompiled } from '../../bench/compiled.ts';
import { runProgram } from '../../bench/programs.ts';

const hasCompiler = compiled('peak-memory') !== undefined;
afterAll(removeCompiled);

const node = (script: string): [string, string[]] => [process.execPath, ['-e', script]];
/** Touches 100 MiB in a thread. */
const THREAD =
  "new (require('worker_threads').Worker)('Buffer.alloc(100 * 2 ** 20, 1)', { eval: true })";

async function peakOf(name: string, args: readonly string[]): Promise<number> {
  const { peakBytes, ms } = await runProgram(name, args);
  expect(ms).toBeGreaterThan(0);
  return peakBytes!;
}

it('is its output, and an error if it fails', async () => {
  expect((await runProgram(...node("console.log('said')"))).output).toBe('said\n');
  const failing = runProgram(...node("console.error('a reason'); process.exit(3)"));
  await expect(failing).rejects.toThrow(/ended with 3: a reason/);
  await expect(runProgram('/no/such/program', [])).rejects.toThrow();
});

it.skipIf(!hasCompiler)('is the most memory that it had, in all threads and children', async () => {
  const ballast = Buffer.alloc(256 * MiB, 1); // of this process, which does not count
  const empty = await peakOf(...node('0'));
  expect(empty).toBeGreaterThan(MiB);
  expect(empty).toBeLessThan(ballast.length);
  expect((await peakOf(...node(THREAD))) - empty).toBeGreaterThan(90 * MiB);
  const quoted = `'${process.execPath}' -e "Buffer.alloc(100 * 2 ** 20, 1)"; true`;
  expect((await peakOf('sh', ['-c', quoted])) - empty).toBeGreaterThan(90 * MiB);
});
