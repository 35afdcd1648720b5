/**
 * The command line in a pseudo terminal and in a pipe. Invariants checked: tables fit the terminal,
 * with every address whole · colours are there only where they are wanted · what is piped is the same
 * whatever the environment says · the maps of mappings agree with their counts
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { createDumper, createMachine, fileSink, MiB, openImage, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, CliFolder } from '../support/programs/cli.ts';
import { hasPseudoTerminals, runInTerminal } from '../support/programs/pseudo-terminal.ts';

const cli = new CliFolder();
afterAll(() => cli.remove());

const START = 0x7f0000000000;
const LONG = `/usr/lib/${'a-long-name-'.repeat(10)}.so`;
const ESC = '\x1b';

beforeAll(async () => {
  await cli.inside('dump', '--workload', 'mixed:4M', '-o', 'mixed.cpt', '--quiet');
  const machine = createMachine({ memory: 16 * MiB });
  const mm = machine.createAddressSpace();
  const length = 16 * PAGE_SIZE;
  mm.mmap({ address: START, length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'] });
  mm.write(START, Buffer.alloc(4 * PAGE_SIZE, 'x'));
  mm.write(START + 6 * PAGE_SIZE, new Uint8Array(2 * PAGE_SIZE)); // pages of zeros
  mm.madvise(START + 8 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  for (const [index, path] of [LONG, `/tmp/${ESC}[31mred`].entries()) {
    const file = machine.createFile({ path, content: Buffer.alloc(PAGE_SIZE, 'file') });
    const address = START + (index + 1) * MiB;
    mm.mmap({ address, length: PAGE_SIZE, prot: 'r', flags: ['private', 'fixed'], file: file.id });
  }
  const dumper = await createDumper({ workers: 1 });
  try {
    await dumper.dump([mm, mm.fork()], { to: fileSink(join(cli.path, 'names.cpt')) });
  } finally {
    await dumper.close();
  }
});

const inspect = (path: string, ...flags: string[]): string =>
  [`'${process.execPath}' '${CLI}' inspect`, path, ...flags].join(' ');
const run = (path: string, columns: number, env = {}) =>
  runInTerminal(inspect(path), { columns, folder: cli.path, env });

/** The lines of tables and maps, without the sentences before them. */
const tableLines = (text: string): string[] => {
  const isTable = /^(addresses|[0-9a-f]+-[0-9a-f]+| {2})/;
  return stripVTControlCharacters(text)
    .split('\n')
    .filter((line) => isTable.test(line));
};

describe.skipIf(!hasPseudoTerminals)('in a terminal (needs script of util-linux)', () => {
  it.each([36, 60, 100])('inspect fits %i columns, and no address is cut', async (columns) => {
    const { status, text } = run('names.cpt', columns);
    expect(status).toBe(0);
    const lines = tableLines(text);
    expect(lines.length).toBeGreaterThan(6);
    for (const line of lines) expect([...line].length).toBeLessThanOrEqual(columns);
    const image = await openImage(join(cli.path, 'names.cpt'));
    const ranges = image
      .vmas()
      .map(({ start, end }) => `${start.toString(16)}-${end.toString(16)}`);
    await image.close();
    for (const range of ranges) expect(text).toContain(range);
    expect(text).not.toContain(`${ESC}[31mred`);
    expect(text).toContain('?[31mred');
  });

  it('a map shows what is stored of a mapping', () => {
    const { text } = run('names.cpt', 100, { NO_COLOR: '1' });
    const lines = text.split('\n');
    const at = lines.findIndex((line) => line.startsWith(`${START.toString(16)}-`));
    expect(lines[at + 1]).toBe('  ████··░░x·······');
    expect(text).toContain('█ stored  ▓ clone  ▒ in the parent  ░ zero  x guard  · absent');
    expect(text).toContain('  ▓▓▓▓··'); // the child's
    const ascii = run('names.cpt', 100, { LANG: 'C', NO_COLOR: '1' }).text;
    expect(ascii).toContain('  ####..00x.......');
    expect(Buffer.byteLength(ascii)).toBe(ascii.length);
  });

  it.each([
    [{}, true],
    [{ NO_COLOR: '1' }, false],
    [{ TERM: 'dumb' }, false],
    [{ FORCE_COLOR: '0' }, false],
  ])('has colours with %o: %s', (env, has) => {
    expect(run('mixed.cpt', 80, env).text.includes(`${ESC}[`)).toBe(has);
  });

  it('draws no maps if told so, and dumps print a table that fits', () => {
    const { text } = runInTerminal(inspect('names.cpt', '--no-map'), {
      columns: 80,
      folder: cli.path,
    });
    expect(text).not.toMatch(/[█▓░·]/);
    const dump = `'${process.execPath}' '${CLI}' dump --workload mixed:1M -o a.cpt`;
    const shown = runInTerminal(dump, { columns: 60, folder: cli.path, env: { NO_COLOR: '1' } });
    expect(shown.status).toBe(0);
    expect(shown.text).toMatch(/^phase +worker +units +pages +bytes +busy$/m);
  });

  it('an error is red where there are colours', () => {
    const where = { columns: 80, folder: cli.path };
    expect(runInTerminal(inspect('none.cpt'), where).text).toContain(`${ESC}[31mmmdump:${ESC}[39m`);
    const plain = runInTerminal(inspect('none.cpt'), { ...where, env: { NO_COLOR: '1' } });
    expect(plain).toMatchObject({ status: 1, text: expect.stringMatching(/^mmdump: /) });
  });
});

describe('in a pipe', () => {
  const piped = (...args: string[]) => cli.inside('inspect', ...args);

  it('is the same whatever the environment says, without colours', async () => {
    const { stdout } = await piped('names.cpt');
    expect(stdout).toContain(LONG);
    expect(stdout).toMatch(/│ addresses +│ prot/);
    const names = ['COLUMNS', 'FORCE_COLOR', 'TERM', 'LANG'] as const;
    const before = names.map((name) => process.env[name]);
    try {
      for (const value of ['20', '1', 'dumb', 'C']) {
        for (const name of names) process.env[name] = value;
        expect((await piped('names.cpt')).stdout).toBe(stdout);
      }
    } finally {
      names.forEach((name, index) => {
        if (before[index] === undefined) delete process.env[name];
        else process.env[name] = before[index];
      });
    }
  });

  it('has maps if they are asked for, in ASCII', async () => {
    const { stdout } = await piped('names.cpt', '--map');
    expect(stdout).toContain('  ####..00x.......\n');
    expect(stdout).toContain(LONG);
    expect(stdout).toContain('# stored  c clone  p in the parent  0 zero  x guard  . absent');
  });
});

describe('what is misspelt', () => {
  it.each([
    [['dump', '--workload', 'mixd'], 'Did you mean mixed?'],
    [['dump', '--workload', 'dense', '--format', 'efl'], 'Did you mean elf?'],
    [['convert', '--format', 'openvx', 'a', 'b'], 'Did you mean openvz?'],
    [['dump', '--pid', '1', '--hugetlb', 'copi'], 'Did you mean copy?'],
    [['inspct', 'a.cpt'], 'Did you mean inspect?'],
    [['inspect', 'a.cpt', '--jsn'], 'Did you mean --json?'],
  ])('mmdump %s: %s', async (args, meant) => {
    const { status, stderr } = await cli.inside(...(args as string[]));
    expect({ status, says: stderr.includes(meant as string) }).toEqual({ status: 2, says: true });
  });
});

it('the documents name the options', () => {
  const api = readFileSync(new URL('../../docs/API.md', import.meta.url), 'utf8');
  for (const name of ['--map', '--no-map', 'NO_COLOR', 'FORCE_COLOR']) expect(api).toContain(name);
});
