/** Explanations of pages of images, and `mmdump explain`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  type Dumper,
  explainImagePage,
  fileSink,
  type Image,
  type ImagePageExplanation,
  MiB,
  type MmdumpError,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON } from '../support/images/images.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const cli = new CliFolder();
const { inside, path: folder } = cli;
const HEAP = 2 ** 40;
const MEMFD = HEAP + MiB;
const LIVING = HEAP + 2 * MiB;
const ENTRY = /^0x[0-9a-f]{16}$/;

let dumper: Dumper;
let first: Image;
let second: Image;

/** Two mms, of which the second is a child of the first; then the child writes one page more. */
beforeAll(async () => {
  const machine = createMachine({ memory: 8 * MiB });
  const space = machine.createAddressSpace();
  const fixed = { prot: 'rw', length: 8 * PAGE_SIZE } as const;
  space.mmap({ ...fixed, address: HEAP, flags: [...ANON.flags, 'fixed'] });
  space.fill(HEAP, 4 * PAGE_SIZE, 1);
  space.fill(HEAP + 4 * PAGE_SIZE, PAGE_SIZE, 0);
  space.madvise(HEAP + 5 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  const { id } = machine.createFile({ path: '/memfd:x', memoryBacked: { size: 8 * PAGE_SIZE } });
  space.mmap({ ...fixed, address: MEMFD, flags: ['shared', 'fixed'], file: id });
  space.fill(MEMFD, PAGE_SIZE, 3);
  const content = new Uint8Array(8 * PAGE_SIZE).fill(9);
  const { id: living } = machine.createFile({ path: '/lib/x', content });
  space.mmap({ ...fixed, address: LIVING, flags: ['private', 'fixed'], file: living });
  const child = space.fork();
  dumper = await createDumper();
  await dumper.dump([space, child], { to: fileSink(join(folder, 'a.cpt')) });
  first = await openImage(join(folder, 'a.cpt'));
  child.fill(HEAP, 1, 77);
  await dumper.dump([space, child], { to: fileSink(join(folder, 'b.cpt')), parent: first });
  second = await openImage(join(folder, 'b.cpt'));
  machine.close();
});

afterAll(async () => {
  await first.close();
  await second.close();
  await dumper.close();
  cli.remove();
});

/** The bytes of the file that an explanation points to. */
function bytesAt({ stored }: ImagePageExplanation): Buffer {
  const { path, offset } = stored!;
  return readFileSync(path!).subarray(offset, offset + PAGE_SIZE);
}

describe('explainImagePage', () => {
  it.each([
    ['a copy', 0, HEAP, 'copy', 'stored', /stores its bytes here/],
    ['a clone', 1, HEAP, 'clone', 'stored', /mm 0 stores its bytes/],
    ['zeros', 0, HEAP + 4 * PAGE_SIZE, 'zero', 'zeros', /page is zeros/],
    ['a guard page', 0, HEAP + 5 * PAGE_SIZE, 'guard', 'nothing', /guard page/],
    [
      'memory that was not touched',
      0,
      HEAP + 6 * PAGE_SIZE,
      'absent',
      'zeros',
      /no page is stored/,
    ],
    ['a page of a file', 1, MEMFD, 'absent', 'stored', /another mapping stores \(mm 0\)/],
    ['a hole of a file', 0, MEMFD + PAGE_SIZE, 'absent', 'zeros', /no page is stored/],
    ['a page of a living file', 0, LIVING, 'absent', 'nothing', /page 0 of \/lib\/x/],
    ['no mapping', 0, 4096, 'unmapped', 'nothing', /no mapping/],
  ] as const)('explains %s, as a read finds it', async (_, mm, address, kind, reads, reason) => {
    const found = await explainImagePage(first, address + 1, { mm });
    expect(found).toMatchObject({
      address,
      mm,
      kind,
      reads,
      reason: expect.stringMatching(reason),
    });
    const bytes = Buffer.alloc(PAGE_SIZE);
    const read = await first.read(address, bytes, { mm }).then(
      () => (bytes.every((byte) => byte === 0) ? 'zeros' : 'stored'),
      (error: MmdumpError) => (error.code === 'PAGE_ABSENT' ? 'nothing' : error.code),
    );
    expect(read).toBe(reads);
    if (reads === 'stored') expect(bytesAt(found).equals(bytes)).toBe(true);
    else expect(found.stored).toBeNull();
  });

  it('names the image of a chain that stores the bytes, and the block', async () => {
    const old = await explainImagePage(second, HEAP + PAGE_SIZE);
    expect(old).toMatchObject({
      kind: 'parent',
      stored: { id: first.id, path: first.path, mm: 0 },
    });
    expect(old.block).toMatchObject({ payload: null, digest: expect.stringMatching(/^0x/) });
    const written = await explainImagePage(second, HEAP, { mm: 1 });
    const place = { id: second.id, path: second.path, mm: 1 };
    expect(written).toMatchObject({ kind: 'copy', stored: place, donor: null });
    expect(written.block).toMatchObject({ start: HEAP, end: HEAP + PAGE_SIZE });
    expect(bytesAt(written)[0]).toBe(77);
  });

  it('refuses an mm that the image does not have', async () => {
    const refused = explainImagePage(first, HEAP, { mm: 2 });
    await expect(refused).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });
});

describe('mmdump explain', () => {
  it('says where an image has a page, in text and as JSON', async () => {
    const { stdout } = await inside('explain', 'b.cpt', '10000001000');
    expect(stdout.split('\n')).toEqual([
      'page 0x10000001000 of mm 0: parent, the parent shows it at the same place',
      'mapping: 10000000000-10000008000 rw-p anonymous ACCOUNT',
      expect.stringMatching(/^block: 10000000000-\w+, digest 0x\w{16}$/),
      expect.stringMatching(/^bytes: at \d+ of .*a\.cpt, image [0-9a-f]{32}$/),
      '',
    ]);
    const json = await inside('explain', 'a.cpt', '0x10000000000', '--mm', '1', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ of: 'image', class: 'clone', donor: 0 });
  });

  it('explains a page of a live process', async (ctx) => {
    const script = 'setInterval(() => 0, 1e6); console.log()';
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data'); // it has started
      const maps = readFileSync(`/proc/${child.pid}/maps`, 'utf8');
      const [start] = /^[0-9a-f]+(?=.*\[heap\]$)/m.exec(maps)!;
      const printed = await inside('explain', '--pid', `${child.pid}`, start, '--json');
      ctx.skip(
        printed.stderr.includes('[PROCESS_DENIED]'),
        'the system does not let us read a process',
      );
      const found = JSON.parse(printed.stdout);
      // maps pads addresses with zeros
      const address = `0x${Number.parseInt(start, 16).toString(16)}`;
      expect(found).toMatchObject({ of: 'process', address, vma: { prot: 'rw-p' } });
      expect(found.row).toBeGreaterThan(0);
      expect(found.walk[0]).toMatchObject({ table: 'pgd', entry: expect.stringMatching(ENTRY) });
      const text = await inside('explain', '--pid', `${child.pid}`, start);
      expect(text.stdout).toMatch(/^page 0x\w+: \w+, .* \(row \d+ of CLASSIFICATION\)\nmapping: /);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('needs an image and an address, or a process and an address', async () => {
    for (const args of [['a.cpt'], ['--pid', '1', 'a.cpt', '1000'], ['a.cpt', 'heap'], []]) {
      expect((await inside('explain', ...args)).status, args.join(' ')).toBe(2);
    }
    expect((await inside('explain', 'a.cpt', 'ffffffffffffffff')).status).toBe(2);
    expectFailure(await inside('explain', 'none.cpt', '1000'), 1, '[INPUT_FAILED]');
    expectFailure(await inside('explain', 'a.cpt', '1000', '--mm', '7'), 2, '[OPTION_INVALID]');
  });
});
