/**
 * Outputs that do not wait for the disk. Invariants checked, for every sink that writes files:
 *  - with `sync: false` no file and no directory is brought to the disk, and every other call is
 *    made as often as before; the default brings each file there once, and each name
 *  - the bytes and the names are the same, also without hard links and over an older image
 *  - what fails leaves as little behind, and the image is there if the process ends by a signal
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createWorkload,
  type Dumper,
  fileSink,
  MiB,
  memorySink,
  type Sink,
  splitSink,
  streamSink,
  verifyImage,
} from 'mmdump';
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  it,
  type MockInstance,
  vi,
} from 'vitest';
import {
  armFaults,
  FAULT_POINTS,
  type Fault,
  type FaultPlan,
  type FaultPoint,
  passesOf,
} from '../../src/shared/faults.ts';
import { CLI, CliFolder } from '../support/programs/cli.ts';

const MMDUMP = import.meta.resolve('mmdump');
const NEVER = 2 ** 30;
/** The system calls of the sinks. */
const CALLS = FAULT_POINTS.slice(FAULT_POINTS.indexOf('look'));
const EIO = { kind: 'errno', errno: 'EIO' } as const;
const OLDER = 'an older image';

const cli = new CliFolder();
let folder: string;
let path: string;
let dumper: Dumper;
let space: AddressSpace;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-no-sync-'));
  path = join(folder, 'image.cpt');
  dumper = await createDumper({ workers: 1 });
  ({ space } = await createWorkload('mixed', { size: MiB }));
});
afterAll(async () => {
  await dumper.close();
  cli.remove();
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  vi.restoreAllMocks();
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
});

interface Output {
  readonly name: string;
  /** fsyncs of files and of the directory, by default. */
  readonly waits: readonly [files: number, directory: number];
  /** Files that are there before. */
  readonly before?: readonly string[];
  readonly fault?: Fault;
  /** The files before are set aside, and removed at the end. */
  readonly isSetAside?: boolean;
  make(options: { sync?: boolean; faults?: FaultPlan }): Sink;
}

const NO_LINKS: Fault = { point: 'link', nth: 1, action: { kind: 'errno', errno: 'EPERM' } };
const OUTPUTS: readonly Output[] = [
  { name: 'a file', waits: [1, 1], make: (options) => fileSink(path, options) },
  {
    name: 'a file, where there are no hard links',
    waits: [1, 1],
    fault: NO_LINKS,
    make: (options) => fileSink(path, options),
  },
  {
    name: 'a file, with force',
    waits: [1, 1],
    before: ['image.cpt'],
    make: (options) => fileSink(path, { ...options, force: true }),
  },
  { name: 'one part', waits: [1, 1], make: (options) => splitSink(path, { ...options, parts: 1 }) },
  { name: 'parts', waits: [3, 2], make: (options) => splitSink(path, { ...options, parts: 3 }) },
  {
    name: 'parts, with force',
    waits: [3, 2],
    before: ['image.cpt', 'image.cpt.000', 'image.cpt.004'],
    isSetAside: true,
    make: (options) => splitSink(path, { ...options, parts: 3, force: true }),
  },
];

type Counts = { [point in FaultPoint]?: number };

interface Dumped {
  /** How often each call was made. */
  readonly counts: Counts;
  /** How often the system was asked for an fsync. */
  readonly fsyncs: number;
  readonly files: { readonly [name: string]: string };
}

/** The files in the folder, each with a digest of its bytes, which are removed. */
function takeFiles(): { [name: string]: string } {
  const names = readdirSync(folder).sort();
  const digest = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex');
  const files = Object.fromEntries(names.map((name) => [name, digest(name)]));
  for (const name of names) rmSync(join(folder, name));
  return files;
}

/** Stands in for fsync, which may take seconds, and counts its calls. */
async function watchFsync(): Promise<MockInstance<fs.FileHandle['sync']>> {
  const handle = await fs.open(folder, 'r');
  await handle.close();
  const prototype: fs.FileHandle = Object.getPrototypeOf(handle);
  return vi.spyOn(prototype, 'sync').mockResolvedValue();
}

async function dumpInto(output: Output, sync: boolean | undefined): Promise<Dumped> {
  const { make, before = [], fault } = output;
  for (const name of before) writeFileSync(join(folder, name), OLDER);
  const counting = CALLS.map((point): Fault => ({ point, nth: NEVER, action: EIO }));
  const armed = armFaults(fault === undefined ? counting : [...counting, fault]);
  const fsync = await watchFsync();
  await dumper.dump(space, {
    to: make({ faults: { armed }, ...(sync === undefined ? {} : { sync }) }),
  });
  const counts = Object.fromEntries(CALLS.map((point, index) => [point, passesOf(armed, index)]));
  return { counts, fsyncs: fsync.mock.calls.length, files: takeFiles() };
}

describe.each(OUTPUTS)('$name', (output) => {
  it('is brought to the disk by default, and not with sync: false, which changes nothing else', async () => {
    const plain = await dumpInto(output, undefined);
    vi.restoreAllMocks();
    const [sync, syncDirectory] = output.waits;
    expect(plain.counts).toMatchObject({ sync, syncDirectory });
    expect(plain.fsyncs).toBe(sync + syncDirectory);
    expect(await dumpInto(output, true)).toEqual(plain);
    vi.restoreAllMocks();
    const quick = await dumpInto(output, false);
    expect(quick).toEqual({
      ...plain,
      counts: { ...plain.counts, sync: 0, syncDirectory: 0 },
      fsyncs: 0,
    });
  });

  it('with sync: false leaves what was there if a call fails', async () => {
    const { counts } = await dumpInto(output, false);
    const { make, before = [], fault } = output;
    const reached = CALLS.filter((point) => counts[point]! > 0);
    expect(reached.length).toBeGreaterThan(4);
    for (const point of reached) {
      for (const name of before) writeFileSync(join(folder, name), OLDER);
      const broken: Fault = { point, nth: 1, action: EIO };
      const faults = { armed: armFaults(fault === undefined ? [broken] : [broken, fault]) };
      const failed = dumper.dump(space, { to: make({ sync: false, faults }) });
      await expect(failed, point).rejects.toMatchObject({ code: 'OUTPUT_FAILED' });
      const left = Object.keys(takeFiles());
      // An older image in parts is removed when the new one has all of its names, and needs no undoing.
      if (point === 'remove' && output.isSetAside === true) expect(left).toContain('image.cpt.000');
      else expect(left, point).toEqual(before);
    }
  });
});

it('an image that was not brought to the disk outlives its process, which ends by a signal', async () => {
  const script = `
    import { createDumper, createWorkload, fileSink, splitSink } from ${JSON.stringify(MMDUMP)};
    const { space } = await createWorkload('mixed', { size: ${MiB} });
    const dumper = await createDumper({ workers: 1 });
    await dumper.dump(space, { to: fileSink('one.cpt', { sync: false }) });
    await dumper.dump(space, { to: splitSink('parts', { parts: 3, sync: false }) });
    process.kill(process.pid, 'SIGKILL');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
  expect(readdirSync(folder).sort()).toEqual(['one.cpt', 'parts.000', 'parts.001', 'parts.002']);
  for (const name of ['one.cpt', 'parts']) {
    expect(await verifyImage(join(folder, name), { dumper })).toMatchObject({ ok: true });
  }
});

describe('wrong values', () => {
  it.each([null, 0, 1, 'false', 'no', {}])('%j is not true or false', (value) => {
    const sync = value as unknown as boolean;
    const refusal = expect.objectContaining({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(/sync.*true or false/),
    });
    expect(() => fileSink(path, { sync })).toThrow(refusal);
    expect(() => splitSink(path, { parts: 2, sync })).toThrow(refusal);
  });

  it('sinks that write no files have no such option', () => {
    const options = { sync: false } as object;
    const refusal = expect.objectContaining({ code: 'OPTION_INVALID' });
    expect(() => memorySink(options)).toThrow(refusal);
    expect(() => streamSink(process.stdout, options)).toThrow(refusal);
  });
});

describe('mmdump dump --no-sync', () => {
  const DUMP = ['dump', '--workload', 'mixed:1M', '--workers', '1', '--quiet'];

  /** How many fsyncs a command makes. The command line runs in this process, as the count does. */
  async function fsyncsOf(...args: string[]): Promise<number> {
    const fsync = await watchFsync();
    expect(await cli.inside(...DUMP, ...args)).toEqual({ status: 0, stdout: '', stderr: '' });
    const calls = fsync.mock.calls.length;
    vi.restoreAllMocks();
    return calls;
  }

  it.each([
    ['one file', [], 2],
    ['parts', ['--split', '3'], 5],
  ])('waits for no disk: %s', async (name, split, calls) => {
    expect(await fsyncsOf('-o', name, ...split)).toBe(calls);
    expect(await fsyncsOf('-o', name, ...split, '--force', '--no-sync')).toBe(0);
    expect((await cli.inside('verify', name)).status).toBe(0);
  });

  it('has no effect on standard output, on devices and on dry runs', async () => {
    const done = { status: 0, stdout: '', stderr: '' };
    for (const where of [['-o', '/dev/null'], ['--dry-run']]) {
      expect(await cli.inside(...DUMP, '--no-sync', ...where)).toEqual(done);
    }
    const args = [CLI, ...DUMP, '--no-sync', '-o', '-'];
    const { status, stdout } = spawnSync(process.execPath, args, { maxBuffer: 16 * MiB });
    expect(status).toBe(0);
    writeFileSync(path, stdout);
    expect(await verifyImage(path, { dumper })).toMatchObject({ ok: true });
  });

  it.each([['--no-sync=yes'], ['--no-sync yes'], ['--sync']])('refuses %s', async (args) => {
    const result = await cli.inside(...DUMP, '-o', 'never', ...args.split(' '));
    expect(result).toMatchObject({ status: 2, stdout: '' });
    expect(readdirSync(cli.path)).not.toContain('never');
  });
});
