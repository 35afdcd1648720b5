/**
 * How much is loaded before work begins. Invariants checked: what asks for the version, a command, a
 * worker and the library load few files, and none that they do not need · both ways to the version
 * answer the same · threads that start early do the work of the command, or end with it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { CliFolder } from '../support/programs/cli.ts';

const dist = fileURLToPath(new URL('../../dist/', import.meta.url));
const cli = new CliFolder();
afterAll(() => cli.remove());

/** The names, without their hashes, of the files that are loaded with this one. */
function loadedWith(path: string): string[] {
  const found = new Set<string>();
  const visit = (file: string): void => {
    if (found.has(file)) return;
    found.add(file);
    const imports = readFileSync(file, 'utf8').matchAll(
      /^(?:import|export)\b.*? from "(\.[^"]+)"/gm,
    );
    for (const [, to = ''] of imports) visit(join(dirname(file), to));
  };
  visit(join(dist, path));
  return [...found].map((file) => basename(file).replace(/-[\w-]{8}\.js$/, '.js')).sort();
}

describe('few files are loaded', () => {
  it.each([
    ['main/cli/mmdump.js', ['mmdump.js', 'start.js']],
    ['main/cli/program.js', ['program.js', 'start.js']],
    ['workers/tasks.js', ['shared.js', 'start.js', 'tasks.js']],
    ['main/index.js', ['index.js', 'main.js', 'shared.js', 'start.js', 'threads.js']],
  ])('with %s', (path, files) => {
    expect(loadedWith(path)).toEqual(files);
  });

  it('before a command is known, and the command brings the rest', () => {
    const program = readFileSync(join(dist, 'main/cli/program.js'), 'utf8');
    const later = [...program.matchAll(/import\("\.\.\/([\w-]+-command-[\w-]+\.js)"\)/g)];
    expect(later).toHaveLength(9);
    for (const [, file = ''] of later) {
      const rest = loadedWith(join('main', file));
      expect(rest.filter((name) => !name.endsWith('-command.js'))).toEqual([
        'commands.js',
        'main.js',
        'shared.js',
        'start.js',
        'threads.js',
      ]);
    }
  });

  it('before the threads of a dump start', () => {
    const program = readFileSync(join(dist, 'main/cli/program.js'), 'utf8');
    const [, file = ''] = /import\("\.\.\/(dump-threads-[\w-]+\.js)"\)/.exec(program) ?? [];
    expect(loadedWith(join('main', file))).toEqual(['dump-threads.js', 'start.js', 'threads.js']);
  });

  it('in ASCII, which V8 reads in half of the bytes', () => {
    const files = readdirSync(dist, { recursive: true, encoding: 'utf8' });
    const modules = files.filter((name) => name.endsWith('.js') && !name.startsWith('report'));
    expect(modules.length).toBeGreaterThan(10);
    for (const name of modules) {
      const at = readFileSync(join(dist, name)).findIndex((byte) => byte > 0x7f);
      expect({ name, at }).toEqual({ name, at: -1 });
    }
  });
});

describe.runIf(process.platform === 'linux')('threads that start before the command', () => {
  it('work for it, and end with one that fails', async () => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    try {
      await once(child, 'spawn');
      const args = ['dump', '--pid', `${child.pid}`, '-o', 'sleep.core', '--format', 'elf'];
      const done = cli.mmdump(...args, '--workers', '3', '--json');
      expect(done).toMatchObject({ status: 0, stderr: '' });
      expect(JSON.parse(done.stdout)).toMatchObject({ workersReason: '3 as asked' });
      const again = cli.mmdump(...args, '--workers', '3');
      expect(again).toMatchObject({ status: 1, stdout: '' });
      expect(again.stderr).toMatch(/^mmdump: .*\[OUTPUT_EXISTS\]\n$/);
      const wrong = cli.mmdump(...args, '--workers', '2', '--pause', 'fork', '--no-freeze');
      expect(wrong.status).toBe(2);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

it.each(['--version', '-V'])('%s says what the whole program says', async (option) => {
  const inside = await cli.inside(option);
  expect(inside).toMatchObject({ status: 0, stderr: '' });
  expect(cli.mmdump(option)).toEqual(inside);
  const further = await cli.inside(option, 'dump');
  expect(cli.mmdump(option, 'dump')).toEqual(further);
});

it('the command is a program, as npx runs it in a clone', () => {
  const { error, status } = spawnSync(join(dist, 'main/cli/mmdump.js'), ['--version']);
  expect([error, status]).toEqual([undefined, 0]);
});
