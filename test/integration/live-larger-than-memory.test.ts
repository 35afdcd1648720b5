/**
 * A process of twice the memory that the dump may use. A control group bounds the memory of the
 * command, with the page cache of its output. Its image is restored on demand in as little memory,
 * and into a machine that is smaller than the process. Long mode only: MMDUMP_LONG=1.
 */
import { existsSync, mkdirSync, readFileSync, readSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDumper, createMachine, MiB, openImage, PAGE_SIZE, verifyImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { startLarge } from '../support/live/failures.ts';
import { readSmaps, withFile } from '../support/live/proc.ts';
import { CLI, CliFolder } from '../support/programs/cli.ts';

const SIZE = 512;
const LIMIT = 256 * MiB;
const isLong = process.env.MMDUMP_LONG === '1';

const fixture = new LiveFixture();
const cli = new CliFolder();
beforeAll(() => fixture.start());
afterAll(async () => {
  await fixture.close();
  cli.remove();
});

/** Makes a control group with a bound on memory; undefined where that is not permitted. */
function boundedGroup(): string | undefined {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  const v1 = lines.find((line) => line.split(':')[1]?.split(',').includes('memory'));
  const root = v1 === undefined ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
  const own = (v1 ?? lines.find((line) => line.startsWith('0::')))?.split(':').slice(2).join(':');
  const parent = [join(root, own ?? ''), root].find((path) => existsSync(path));
  const group = join(parent ?? root, `mmdump-test-${process.pid}`);
  try {
    mkdirSync(group);
    const bound = v1 === undefined ? 'memory.max' : 'memory.limit_in_bytes';
    writeFileSync(join(group, bound), `${LIMIT}`);
    return group;
  } catch {
    if (existsSync(group)) rmdirSync(group);
    return undefined;
  }
}

describe.runIf(isLong)('a process that is larger than the memory of the command', () => {
  it('is dumped, verified and restored on demand, and its pages are right', async (context) => {
    const group = boundedGroup();
    if (group === undefined) context.skip('no control group can be made here');
    const live = await startLarge(fixture, SIZE);
    try {
      const path = join(cli.path, 'large.cpt');
      const inGroup = `echo $$ > ${group}/cgroup.procs && exec "$@"`;
      const command = [process.execPath, CLI, 'dump', '--pid', `${live.pid}`, '-o', path, '--json'];
      const dumped = cli.runProgram('sh', ['-c', inGroup, 'sh', ...command]);
      expect(dumped).toMatchObject({ status: 0, stderr: '' });
      expect((await verifyImage(path)).ok).toBe(true);
      await expectPages(path, live.pid);
      const restore = [process.execPath, CLI, 'restore', path, '--load', 'on-demand', '--json'];
      const restored = cli.runProgram('sh', ['-c', inGroup, 'sh', ...restore]);
      expect(restored).toMatchObject({ status: 0, stderr: '' });
      expect(JSON.parse(restored.stdout).onDemand).toBeGreaterThan(LIMIT / PAGE_SIZE);
      await expectRestored(path, live.pid);
    } finally {
      await live.kill();
      rmdirSync(group!);
    }
  });
});

/** Compares pages of the image with those of the process. */
async function expectPages(path: string, pid: number): Promise<void> {
  const image = await openImage(path);
  await expectSame(pid, (at, into) => image.read(at, into));
  await image.close();
}

/** Restores into a machine that is smaller than the process, and compares pages. */
async function expectRestored(path: string, pid: number): Promise<void> {
  const dumper = await createDumper();
  const machine = createMachine({ memory: LIMIT / 4 });
  const image = await openImage(path);
  const { mms } = await dumper.restore(image, machine, { load: 'on-demand' });
  await image.close();
  await expectSame(pid, (at, into) => mms[0]!.readAsync(at, into));
  await dumper.close();
  await machine.close();
}

/** Compares pages of the large buffers with those of the process, which does not write them. */
async function expectSame(
  pid: number,
  read: (address: number, into: Uint8Array) => Promise<void>,
): Promise<void> {
  const buffers = readSmaps(pid).filter(({ start, end, perms }) => {
    return perms === 'rw-p' && end - start >= 64 * MiB;
  });
  expect(buffers.length).toBeGreaterThan(0);
  const found = new Uint8Array(PAGE_SIZE);
  const expected = Buffer.alloc(PAGE_SIZE);
  for (const { start, end } of buffers) {
    for (let at = start + MiB; at < end - MiB; at += 7 * MiB + 3 * PAGE_SIZE) {
      await read(at, found);
      withFile(`/proc/${pid}/mem`, (fd) => readSync(fd, expected, 0, PAGE_SIZE, at));
      expect(Buffer.compare(found, expected), `page ${at.toString(16)}`).toBe(0);
    }
  }
}
