/**
 * `dump -o -`, and outputs that are not files: they get the same bytes, and one line if they break.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, mmdump, path: folder } = cli;
afterAll(() => cli.remove());

const SOURCE = ['dump', '--workload', 'mixed:4M', '--seed', '5', '--workers', '2'] as const;
let expected: Buffer;

beforeAll(() => {
  mmdump(...SOURCE, '-o', 'file.cpt');
  expected = readFileSync(join(folder, 'file.cpt'));
});

/** Runs a shell pipeline in which `mmdump` stands for the command line. */
function shell(script: string): ReturnType<typeof spawnSync> {
  const line = script.replaceAll('mmdump', `'${process.execPath}' '${CLI}'`);
  return spawnSync('bash', ['-c', line], { cwd: folder, maxBuffer: 2 ** 26 });
}

describe('dump -o -', () => {
  it('writes the image to standard output and the summary to standard error', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...SOURCE, '-o', '-'], {
      cwd: folder,
      maxBuffer: 2 ** 26,
    });
    expect(status).toBe(0);
    expect(stdout.equals(expected)).toBe(true);
    expect(stderr.toString()).toMatch(/standard output: .* id [0-9a-f]{32}/);
    expect(existsSync(join(folder, '-'))).toBe(false);
  });

  it('goes through a pipe, a redirection and a compressor', () => {
    const pipeline = `mmdump ${SOURCE.join(' ')} -o - --quiet | gzip -1 | gunzip > piped.cpt`;
    expect(shell(pipeline)).toMatchObject({ status: 0 });
    expect(readFileSync(join(folder, 'piped.cpt')).equals(expected)).toBe(true);
    expect(shell(`mmdump ${SOURCE.join(' ')} -o - --quiet > to.cpt`)).toMatchObject({ status: 0 });
    expect(readFileSync(join(folder, 'to.cpt')).equals(expected)).toBe(true);
  });

  it('fails with one line when the reader goes away', async () => {
    const child = spawn(process.execPath, [CLI, ...SOURCE, '-o', '-'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (text: Buffer) => {
      stderr += text;
    });
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [status] = await once(child, 'close');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^mmdump: standard output cannot be written: .*\[OUTPUT_FAILED\]\n$/);
  });

  it.for(['SIGINT', 'SIGHUP', 'SIGQUIT'] as const)(
    'is interrupted by %s while nobody reads',
    async (signal) => {
      const child = spawn(process.execPath, [CLI, ...SOURCE, '-o', '-'], {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      await once(child.stdout, 'readable'); // the pipe is soon full, and stays full
      child.kill(signal);
      const [status] = await once(child, 'exit');
      expect(status).toBe(130);
      child.stdout.destroy();
    },
  );
});

describe('an output that is no file', () => {
  it('is written through: a pipe with a name, a device', () => {
    const script = `mkfifo pipe; cat pipe > out.cpt & mmdump ${SOURCE.join(' ')} -o pipe; wait`;
    expect(shell(script)).toMatchObject({ status: 0 });
    expect(readFileSync(join(folder, 'out.cpt')).equals(expected)).toBe(true);
    expect(mmdump(...SOURCE, '-o', '/dev/null')).toMatchObject({ status: 0 });
  });

  it('fails with one line when it is full, or a directory', async () => {
    if (existsSync('/dev/full')) {
      expectFailure(mmdump(...SOURCE, '-o', '/dev/full'), 1, '/dev/full', 'OUTPUT_FAILED');
    }
    expectFailure(await inside(...SOURCE, '-o', folder), 1, 'OUTPUT_');
    writeFileSync(join(folder, 'there.cpt'), 'x');
    expectFailure(await inside(...SOURCE, '-o', 'there.cpt'), 1, 'OUTPUT_EXISTS');
  });
});
