/** `--split` as its users see it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CLI, CliFolder, expectFailure, type Result } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, mmdump, path: folder } = cli;
afterAll(() => cli.remove());

const MIXED = ['dump', '--workload', 'mixed:4M'];
const starting = (start: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith(start))
    .sort();
const partsOf = (name: string): Buffer =>
  Buffer.concat(starting(`${name}.`).map((part) => readFileSync(join(folder, part))));

describe('--split', () => {
  it('writes parts that every command reads by the name of the image, or of the first part', async () => {
    expect(mmdump(...MIXED, '-o', 'whole.cpt').status).toBe(0);
    const { stdout } = mmdump(...MIXED, '-o', 'out', '--split', '3');
    expect(stdout).toMatch(/out: .* in 3 parts, id /);
    expect(starting('out')).toEqual(['out.000', 'out.001', 'out.002']);
    expect(partsOf('out').equals(readFileSync(join(folder, 'whole.cpt')))).toBe(true);
    for (const name of ['out', 'out.000']) {
      for (const args of [['verify'], ['inspect'], ['restore', '--check']]) {
        expect(await inside(...args, name)).toMatchObject({ status: 0, stderr: '' });
      }
    }
  });

  it('takes the length of a part, and tells scripts how many there are', async () => {
    const args = [...MIXED, '-o', 'sized', '--json'];
    const { image } = JSON.parse((await inside(...args, '--split', '1M')).stdout);
    const names = starting('sized.');
    expect(image).toMatchObject({ path: 'sized', parts: names.length });
    expect(statSync(join(folder, 'sized.000')).size).toBe(2 ** 20);
    expect(partsOf('sized')).toHaveLength(image.bytes);
    const again = await inside(...args, '--split', '2', '--force');
    expect(JSON.parse(again.stdout).image.parts).toBe(2);
    expect(starting('sized')).toEqual(['sized.000', 'sized.001']);
  });

  it.for(['0', '1001', '-1', '1.5', 'x', '1K', '2X', ''])(
    "refuses '%s' as wrong usage",
    async (value) => {
      expect(await inside(...MIXED, '-o', 'never', '--split', value)).toMatchObject({
        status: 2,
        stdout: '',
      });
      expect(starting('never')).toEqual([]);
    },
  );

  it('refuses standard output', async () => {
    expectFailure(
      await inside(...MIXED, '-o', '-', '--split', '2'),
      2,
      '--split',
      'OPTION_INVALID',
    );
  });

  it('heeds --dry-run, --size-limit, --force and --timeout', async () => {
    const args = [...MIXED, '-o', 'limits', '--split', '2'];
    expect((await inside(...args, '--dry-run')).status).toBe(0);
    expectFailure(await inside(...args, '--size-limit', '1M'), 1, 'SIZE_LIMIT');
    expectFailure(mmdump(...args, '--timeout', '0.001'), 1, 'TIMEOUT');
    expect([...starting('limits'), ...starting('.mmdump-')]).toEqual([]);
    writeFileSync(join(folder, 'limits.001'), 'mine');
    expectFailure(await inside(...args), 1, 'limits.001', 'OUTPUT_EXISTS');
    expect(starting('limits')).toEqual(['limits.001']);
    expect((await inside(...args, '--force')).status).toBe(0);
    expect((await inside('verify', 'limits')).status).toBe(0);
  });

  it('says in one line which part is missing, and which is too many', async () => {
    await inside(...MIXED, '-o', 'torn', '--split', '4', '--quiet');
    rmSync(join(folder, 'torn.002'));
    for (const args of [['inspect'], ['restore']]) {
      expectFailure(await inside(...args, 'torn'), 1, 'torn.002', 'IMAGE_TRUNCATED');
    }
    expect((await inside('verify', 'torn')).stderr).toContain("part 'torn.002' is missing");
    await inside(...MIXED, '-o', 'torn', '--split', '4', '--quiet', '--force');
    writeFileSync(join(folder, 'torn.004'), '');
    expectFailure(await inside('verify', 'torn'), 1, 'torn.004', 'IMAGE_CORRUPT');
    expect((await inside('restore', 'torn', '--check')).status).toBe(0);
  });

  it('says what to do where not so many files may be open', async () => {
    expect((await inside(...MIXED, '-o', 'many', '--split', '300', '--quiet')).status).toBe(0);
    const limited = (...args: string[]): Result => {
      const shell = ['-c', 'ulimit -n 200; exec "$@"', 'sh', process.execPath, CLI, ...args];
      const { status, stdout, stderr } = spawnSync('sh', shell, { cwd: folder, encoding: 'utf8' });
      return { status, stdout, stderr };
    };
    expectFailure(limited('verify', 'many'), 1, 'EMFILE', 'ulimit -n', 'INPUT_FAILED');
    const dump = limited(...MIXED, '-o', 'more', '--split', '300');
    expectFailure(dump, 1, 'EMFILE', 'ulimit -n', 'OUTPUT_FAILED');
    expect([...starting('more'), ...starting('.mmdump-')]).toEqual([]);
  });

  it('is undone by a signal while it copies', async () => {
    const inner = join(folder, 'inner');
    mkdirSync(inner);
    writeFileSync(join(inner, 'out.000'), 'what was there before');
    const args = [CLI, 'dump', '--workload', 'dense:256M', '-o', 'out', '--split', '4', '--force'];
    const child = spawn(process.execPath, args, { cwd: inner, stdio: ['ignore', 'pipe', 'pipe'] });
    const errors: Buffer[] = [];
    child.stderr.on('data', (data: Buffer) => errors.push(data));
    const sizeOf = (name: string): number =>
      statSync(join(inner, name), { throwIfNoEntry: false })?.size ?? 0;
    // The parts get their lengths when the image is laid out.
    const isCopying = (): boolean =>
      readdirSync(inner).filter((name) => name.startsWith('.mmdump-') && sizeOf(name) > 0)
        .length === 4;
    while (!isCopying() && child.exitCode === null) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    child.kill('SIGINT');
    const [code] = await once(child, 'close');
    expect(code).toBe(130);
    expect(Buffer.concat(errors).toString()).toMatch(/^mmdump: interrupted.*\n$/);
    expect(readdirSync(inner)).toEqual(['out.000']);
    expect(readFileSync(join(inner, 'out.000'), 'utf8')).toBe('what was there before');
  });
});
