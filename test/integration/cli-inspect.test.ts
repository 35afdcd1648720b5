/** `mmdump inspect` with the options that choose: a page, a search, mappings by name and kind. */
import { join } from 'node:path';
import { createDumper, createMachine, fileSink, MiB, openImage, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON } from '../support/images/images.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, path: folder } = cli;
const HEAP = 2 ** 40;
const FILE = HEAP + 16 * MiB;
const PATH = join(folder, 'a.cpt');

beforeAll(async () => {
  const machine = createMachine({ memory: 8 * MiB });
  const space = machine.createAddressSpace();
  space.mmap({ ...ANON, address: HEAP, length: MiB, flags: [...ANON.flags, 'fixed'] });
  space.write(HEAP + PAGE_SIZE - 3, Buffer.from('needle'));
  space.madvise(HEAP + 5 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  const content = new Uint8Array(2 * PAGE_SIZE).fill(9);
  const { id } = machine.createFile({ path: '/lib/libc.so', content });
  const flags = ['private', 'fixed'] as const;
  space.mmap({ prot: 'r', flags, address: FILE, length: 2 * PAGE_SIZE, file: id });
  const child = space.fork();
  child.write(HEAP + 2 * PAGE_SIZE, Buffer.from('needle'));
  const dumper = await createDumper();
  await dumper.dump([space, child], { to: fileSink(PATH) });
  await dumper.close();
  machine.close();
});
afterAll(() => cli.remove());

const hex = (address: number): string => `0x${address.toString(16)}`;

interface Shown {
  readonly mms: { readonly vmas: { readonly start: string; readonly file: string | null }[] }[];
  readonly page: { readonly bytes: string } | null;
  readonly found: unknown;
}

async function json(...args: string[]): Promise<Shown> {
  return JSON.parse((await inside('inspect', PATH, '--json', ...args)).stdout);
}

describe('mmdump inspect', () => {
  it('shows one page: its mapping, kind and bytes', async () => {
    const { status, stdout } = await inside('inspect', PATH, '--page', hex(HEAP + 100));
    expect(status).toBe(0);
    const address = HEAP.toString(16);
    const last = `${(HEAP + PAGE_SIZE - 16).toString(16)}  00 00 00 00 00 00 00 00  00 00 00 00 00`;
    expect(stdout.split('\n')).toEqual([
      `page ${hex(HEAP)} of mm 0: copy, class copy: the image stores its bytes here`,
      `mapping: ${address}-${(HEAP + MiB).toString(16)} rw-p anonymous`,
      `${address}  ${'00 '.repeat(8)} ${'00 '.repeat(7)}00  |${'.'.repeat(16)}|`,
      '*',
      `${last} 6e 65 65  |.............nee|`,
      '',
    ]);
    const shown = await json('--page', hex(HEAP + 100));
    const image = await openImage(PATH);
    const bytes = Buffer.alloc(PAGE_SIZE);
    await image.read(HEAP, bytes);
    await image.close();
    expect(shown.page).toEqual({
      ...{ mm: 0, address: hex(HEAP), kind: 'copy', class: 'copy', reads: 'stored' },
      ...{ reason: 'the image stores its bytes here', bytes: bytes.toString('hex') },
    });
    expect(shown.mms.map(({ vmas }) => vmas.map(({ start }) => start))).toEqual([[hex(HEAP)]]);
    expect(shown.found).toBe(null);
  });

  it('says of a page without bytes why it has none', async () => {
    const guard = await inside('inspect', PATH, '--page', hex(HEAP + 5 * PAGE_SIZE), '--mm', '1');
    expect(guard.stdout).toContain('mm 1: guard, class guard: a guard page is there\n');
    expect(guard.stdout).toContain('\nits bytes are not known\n');
    expect(await json('--page', '0x1000')).toMatchObject({
      page: { kind: 'unmapped', reads: 'nothing', bytes: null },
      mms: [{ vmas: [] }],
    });
    expect(await json('--page', hex(FILE))).toMatchObject({
      page: { kind: 'absent', bytes: null },
    });
  });

  it('finds as search does, in the mappings that are chosen', async () => {
    const found = await inside('inspect', PATH, '--find', 'needle');
    expect(found.stdout).toBe((await inside('search', PATH, 'needle')).stdout);
    const places = [HEAP + PAGE_SIZE - 3, HEAP + PAGE_SIZE - 3, HEAP + 2 * PAGE_SIZE];
    const matches = places.map((at, mm) => ({ mm: Math.min(mm, 1), address: hex(at), bytes: 6 }));
    const bytes = expect.any(Number);
    expect(await json('--find', '/n[de]+le/')).toMatchObject({
      found: { count: 3, bytes, matches },
    });
    for (const filter of [
      ['--mm', '1'],
      ['--mm', '1', '--vma', 'anon'],
      ['--vma', hex(HEAP), '--mm', '1', '--prot', 'w'],
    ]) {
      const some = await json('--find', '0x6e6565646c65', ...filter);
      expect(some.found).toMatchObject({ count: 2, matches: matches.slice(1) });
    }
    const clones = await json('--find', 'needle', '--class', 'clone,guard');
    expect(clones.found).toMatchObject({ count: 1, matches: [matches[1]] });
    expect(await json('--find', 'needle', '--vma', 'libc')).toMatchObject({ found: { count: 0 } });
  });

  it('lists only the mappings that are chosen', async () => {
    const starts = async (...args: string[]) =>
      (await json(...args)).mms.map(({ vmas }) => vmas.map(({ start }) => start));
    const [heap, file] = [hex(HEAP), hex(FILE)];
    expect(await starts()).toEqual([
      [heap, file],
      [heap, file],
    ]);
    expect(await starts('--vma', 'libc')).toEqual([[file], [file]]);
    expect(await starts('--vma', (FILE + 5).toString(16))).toEqual([[file], [file]]);
    expect(await starts('--prot', 'rw', '--mm', '1')).toEqual([[heap]]);
    expect(await starts('--kind', 'clone')).toEqual([[], [heap]]);
    expect(await starts('--kind', 'guard,zero')).toEqual([[heap], [heap]]);
    expect(await starts('--class', 'absent', '--vma', 'so')).toEqual([[file], [file]]);
    const { stdout } = await inside('inspect', PATH, '--vma', 'libc', '--mm', '0');
    expect(stdout).toContain('mm 0: 1 of 2 mappings');
    expect(stdout).not.toContain(HEAP.toString(16));
  });

  it('refuses what it cannot choose', async () => {
    expectFailure(await inside('inspect', PATH, '--mm', '2'), 2, '[OPTION_INVALID]', '2 mms');
    expectFailure(await inside('inspect', PATH, '--find', '0x1'), 2, '[OPTION_INVALID]');
    expect((await inside('inspect', PATH, '--kind', 'copied')).status).toBe(2);
    expect((await inside('inspect', PATH, '--page', 'here')).status).toBe(2);
    const { stdout } = await inside('inspect', '--help');
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain('as mmdump search does');
  });
});
