/** `mmdump search`: what it finds and prints. */
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  fileSink,
  MiB,
  openImage,
  PAGE_SIZE,
  searchImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON } from '../support/images/images.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, path: folder } = cli;
const HEAP = 2 ** 40;
const PATH = join(folder, 'a.cpt');

beforeAll(async () => {
  const machine = createMachine({ memory: 8 * MiB });
  const space = machine.createAddressSpace();
  space.mmap({ ...ANON, address: HEAP, length: 3 * MiB, flags: [...ANON.flags, 'fixed'] });
  // Over the end of a page, of a block, and of a unit of the search.
  for (const end of [PAGE_SIZE, MiB, 2 * MiB]) {
    space.fill(HEAP + end - PAGE_SIZE, 2 * PAGE_SIZE, 7);
    space.write(HEAP + end - 3, Buffer.from('needle'));
  }
  const child = space.fork();
  child.mprotect(HEAP, MiB, 'r');
  const dumper = await createDumper();
  await dumper.dump([space, child], { to: fileSink(PATH) });
  await dumper.close();
  machine.close();
});
afterAll(() => cli.remove());

const PLACES = [PAGE_SIZE, MiB, 2 * MiB].map((end) => HEAP + end - 3);

describe('mmdump search', () => {
  it('lists the places of a text, with their mappings', async () => {
    const { status, stdout } = await inside('search', PATH, 'needle', '--mm', '0');
    expect(status).toBe(0);
    expect(stdout.split('\n')).toEqual([
      ...PLACES.map((address) => `mm 0: ${address.toString(16)} rw-p anonymous`),
      '3 matches',
      '',
    ]);
  });

  it('takes bytes in hexadecimal, and filters', async () => {
    const json = async (...args: string[]): Promise<unknown> =>
      JSON.parse((await inside('search', PATH, '0x6e6565646c65', '--json', ...args)).stdout);
    expect(await json()).toMatchObject({ count: 6 });
    expect(await json('--prot', 'rw')).toMatchObject({ count: 4 });
    const [, second] = PLACES;
    const range = ['--from', second!.toString(16), '--to', `0x${(second! + 6).toString(16)}`];
    expect(await json('--mm', '1', ...range)).toMatchObject({
      count: 1,
      matches: [{ mm: 1, address: `0x${second!.toString(16)}`, bytes: 6 }],
    });
    expect(await json('--max-matches', '1')).toMatchObject({ count: 6, matches: [{ mm: 0 }] });
    expect(await inside('search', PATH, 'haystack')).toMatchObject({ stdout: '0 matches\n' });
  });

  it('takes an expression', async () => {
    const { stdout } = await inside('search', PATH, '/N[de]+l/i', '--mm', '0');
    expect(stdout.split('\n')).toEqual([
      ...PLACES.map((address) => `mm 0: ${address.toString(16)} rw-p anonymous`),
      '3 matches',
      '',
    ]);
    expectFailure(await inside('search', PATH, '/(/'), 2, '[OPTION_INVALID]', '0x2f');
    expectFailure(await inside('search', PATH, '/^a/'), 2, '[OPTION_INVALID]', 'without ^');
  });

  it('refuses what is no sequence of bytes, and no image', async () => {
    expectFailure(await inside('search', PATH, '0x123'), 2, '[OPTION_INVALID]', 'two hexadecimal');
    expectFailure(await inside('search', PATH, ''), 2, '[OPTION_INVALID]');
    expectFailure(await inside('search', 'none.cpt', 'x'), 1, '[INPUT_FAILED]');
    expect((await inside('search', PATH, 'x', '--prot', 'wr')).status).toBe(2);
  });
});

describe('searchImage', () => {
  it('stops, reports its progress, and needs an open image', async () => {
    const image = await openImage(PATH);
    const stopped = searchImage(image, 'needle', { signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORT_ERR' });
    const news: { bytes: number; totalBytes: number }[] = [];
    const { bytes } = await searchImage(image, 'needle', { onProgress: (each) => news.push(each) });
    expect(news.at(-1)).toEqual({ bytes, totalBytes: bytes });
    await image.close();
    await expect(searchImage(image, 'x')).rejects.toMatchObject({ code: 'IMAGE_CLOSED' });
  });
});
