/**
 * How much is loaded before work begins. Invariants checked: what asks for the version, a command, a
 * worker and the library load few files, and none that they do not need · both ways to the version
 * answer the same.
 */
import { readFileSync } from 'node:fs';
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
    ['main/index.js', ['index.js', 'main.js', 'shared.js', 'start.js']],
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
      ]);
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
