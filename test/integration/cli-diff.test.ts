/** `mmdump diff`: what it prints, and its exit codes. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  diffImages,
  fileSink,
  MiB,
  type MmdumpError,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON } from '../support/images/images.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, path: folder } = cli;
afterAll(() => cli.remove());

const HEAP = 2 ** 40;
const PLACE = { ...ANON, address: HEAP, length: 8 * PAGE_SIZE } as const;

beforeAll(async () => {
  const machine = createMachine({ memory: 8 * MiB });
  const space = machine.createAddressSpace();
  space.mmap({ ...PLACE, flags: [...ANON.flags, 'fixed'] });
  space.fill(HEAP, 6 * PAGE_SIZE, 1);
  const dumper = await createDumper();
  const to = (name: string): { to: ReturnType<typeof fileSink> } => ({
    to: fileSink(join(folder, name)),
  });
  await dumper.dump(space, to('a.cpt'));
  await dumper.dump(space, { ...to('same.cpt'), blocks: 'page' });
  space.write(HEAP + PAGE_SIZE + 7, Uint8Array.of(2, 3));
  space.fill(HEAP + 2 * PAGE_SIZE, PAGE_SIZE, 0);
  space.mprotect(HEAP + 4 * PAGE_SIZE, PAGE_SIZE, 'r');
  space.munmap(HEAP + 7 * PAGE_SIZE, PAGE_SIZE);
  await dumper.dump(space, to('b.cpt'));
  await dumper.dump([space, space.fork()], to('two.cpt'));
  await dumper.close();
  machine.close();
});

describe('mmdump diff', () => {
  it('exits with 0 if nothing is different, and says so', async () => {
    const { status, stdout } = await inside('diff', 'a.cpt', 'same.cpt');
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: 'a.cpt and same.cpt are the same\n',
    });
  });

  it('exits with 1 if something is different, and names it after a summary', async () => {
    const { status, stdout } = await inside('diff', 'a.cpt', 'b.cpt');
    expect(status).toBe(1);
    expect(
      stdout
        .replace(/\(.*? read\)/, '(N read)')
        .trimEnd()
        .split('\n'),
    ).toEqual([
      'a.cpt and b.cpt differ: 2 pages have other bytes, 1 another class; ' +
        '2 changes of mappings (N read)',
      'mm 0:',
      '  protection 10000004000-10000005000 rw-p -> r--p anonymous',
      '  removed 10000007000-10000008000 rw-p anonymous ACCOUNT',
      '  1 pages from 0x10000002000: copy -> zero',
      '  page 0x10000001000: 2 bytes differ, from byte 7 on',
      '  page 0x10000002000: 4096 bytes differ, from byte 0 on',
    ]);
    const quiet = await inside('diff', 'a.cpt', 'b.cpt', '--quiet');
    expect(quiet).toEqual({ status: 1, stdout: '', stderr: '' });
  });

  it('lists at most as many pages as it may, and counts the others', async () => {
    const printed = await inside('diff', 'a.cpt', 'b.cpt', '--json', '--max-pages', '1');
    const found = JSON.parse(printed.stdout);
    expect(found.changedPages).toHaveLength(1);
    expect(found).toMatchObject({ same: false, unlisted: 1 });
    expect(found.mms[0]).toMatchObject({ changed: 2, reclassified: 1 });
  });

  it('names an mm that one image has more', async () => {
    const { status, stdout } = await inside('diff', 'b.cpt', 'two.cpt');
    expect(status).toBe(1);
    expect(stdout).toContain('mm 1: only in the right image');
  });

  it('exits with 2 in trouble', async () => {
    expectFailure(await inside('diff', 'a.cpt', 'none.cpt'), 2, '[INPUT_FAILED]');
    expect((await inside('diff', 'a.cpt')).status).toBe(2);
    execFileSync('cp', ['/dev/null', join(folder, 'empty.cpt')]);
    expectFailure(await inside('diff', 'empty.cpt', 'a.cpt'), 2, '[IMAGE_');
  });
});

describe('diffImages', () => {
  it('reads no block whose digest is equal, and only changed pages of a child', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const heap = space.mmap({ ...ANON, length: 6 * MiB });
    for (let page = 0; page < (6 * MiB) / PAGE_SIZE; page++) {
      space.write(heap + page * PAGE_SIZE, Uint32Array.of(page + 1));
    }
    const dumper = await createDumper();
    const [first, second, third] = [memorySink(), memorySink(), memorySink()];
    await dumper.dump(space, { to: first });
    const a = await openImage(first.image);
    space.write(heap + 5 * PAGE_SIZE, Uint8Array.of(200));
    await dumper.dump(space, { to: second });
    await dumper.dump(space, { to: third, parent: a });
    const b = await openImage(second.image);
    const c = await openImage(third.image, { parents: [first.image] });
    const same = await diffImages(a, a, { dumper });
    expect(same).toMatchObject({ same: true, bytesRead: 0 });
    const blocks = await diffImages(a, b, { dumper });
    expect(blocks.changedPages).toHaveLength(1);
    expect(blocks.bytesRead).toBeLessThanOrEqual(4 * MiB);
    const child = await diffImages(a, c, { dumper });
    expect(child.changedPages).toEqual(blocks.changedPages);
    expect(child.bytesRead).toBe(2 * PAGE_SIZE);
    expect(await diffImages(b, c, { dumper })).toMatchObject({ same: true });
    const stopped = diffImages(a, b, { dumper, signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await b.close();
    const closed = await diffImages(a, b, { dumper }).catch((error: MmdumpError) => error.code);
    expect(closed).toBe('IMAGE_CLOSED');
    await Promise.all([a.close(), c.close()]);
    await dumper.close();
    machine.close();
  });
});
