/**
 * Images in parts, written and read in place.
 *
 * Invariants checked: the parts joined are byte for byte the image in one piece · whatever reads an
 * image reads it from its parts · a part that is missing, short, long or too many is named · a dump
 * that fails, is stopped, or whose process ends leaves what was there before.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import * as fs from 'node:fs/promises';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type Image,
  MiB,
  openImage,
  PAGE_SIZE,
  splitSink,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { imageOf, inMemory } from '../support/images/images.ts';

let root: string;
let folder: string;
let path: string;
let space: AddressSpace;
let whole: Buffer;
let dumper: Dumper;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'mmdump-split-'));
  dumper = await createDumper({ workers: 2 });
  ({ space } = await createWorkload('mixed', { size: 8 * MiB }));
  whole = await imageOf(dumper, space);
});
afterAll(async () => {
  await dumper.close();
  rmSync(root, { recursive: true });
});
beforeEach(() => {
  folder = join(root, 'images');
  mkdirSync(folder);
  path = join(folder, 'OUT');
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

const names = (): string[] => readdirSync(folder).sort();
const joined = (): Buffer => Buffer.concat(names().map((name) => readFileSync(join(folder, name))));
const partNames = (count: number): string[] =>
  Array.from({ length: count }, (_, part) => `OUT.${String(part).padStart(3, '0')}`);

describe('the parts of an image', () => {
  it.for([1, 2, 4])('joined are the image in one piece, with %i workers', async (workers) => {
    const other = await createDumper({ workers });
    try {
      // One part, several, more than workers, parts shorter than a segment, and parts of five
      // blocks.
      for (const parts of [1, 2, 3, 7, 20, Math.ceil(whole.length / 20_480)]) {
        const size = parts > 20 ? { partBytes: 20_480 } : { parts };
        const to = splitSink(path, { ...size, force: true });
        const report = await other.dump(space, { to });
        expect(report.image).toMatchObject({ path, bytes: whole.length, parts });
        expect(names()).toEqual(partNames(parts));
        expect(joined().equals(whole), `${parts} parts`).toBe(true);
      }
    } finally {
      await other.close();
    }
  });

  it.for([true, false])('hold the zeros of zeroPages: copy, sparse %s', async (sparse) => {
    const options = { zeroPages: 'copy', checksum: 'none' } as const;
    const expected = await imageOf(dumper, space, options);
    await dumper.dump(space, { to: splitSink(path, { parts: 5, sparse }), ...options });
    expect(joined().equals(expected)).toBe(true);
  });

  it('have the bytes that were asked for, in whole blocks, but the last', async () => {
    const partBytes = MiB / 2 + 1000;
    const report = await dumper.dump(space, { to: splitSink(path, { partBytes }) });
    const lengths = names().map((name) => readFileSync(join(folder, name)).length);
    expect(report.image.parts).toBe(lengths.length);
    expect(lengths.slice(0, -1).every((length) => length === MiB / 2)).toBe(true);
    expect(lengths.at(-1)).toBe(whole.length % (MiB / 2));
    expect(joined().equals(whole)).toBe(true);
  });

  it('are fewer where there are not so many blocks', async () => {
    const empty = createMachine({ memory: 2 * MiB }).createAddressSpace();
    const report = await dumper.dump(empty, { to: splitSink(path, { parts: 1000 }) });
    expect(report.image).toMatchObject({ bytes: 208, parts: 1 });
    expect((await dumper.verify(path)).ok).toBe(true);
  });

  it('are at most 1000, which is said before anything is written', async () => {
    const dump = dumper.dump(space, { to: splitSink(path, { partBytes: 4096 }) });
    await expect(dump).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await expect(dump).rejects.toThrow(`${Math.ceil(whole.length / 4096)}`);
    expect(names()).toEqual([]);
  });

  it.for([
    {},
    { parts: 2, partBytes: MiB },
    { parts: 0 },
    { parts: 1001 },
    { parts: 1.5 },
    { partBytes: 4095 },
    { partBytes: Number.NaN },
  ])('are refused with options %o', (options) => {
    expect(() => splitSink(path, options)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    );
  });
});

describe('reading in place', () => {
  beforeEach(() => dumper.dump(space, { to: splitSink(path, { parts: 5 }) }));

  it.for(['OUT', 'OUT.000'])('%s is opened, verified, restored', async (name) => {
    const image = await openImage(join(folder, name));
    try {
      expect({ path: image.path, bytes: image.bytes }).toEqual({ path, bytes: whole.length });
      const { id } = await dumper.verify(join(folder, name));
      expect(id).toBe(image.id);
      const [stored, shown] = [new Uint8Array(PAGE_SIZE), new Uint8Array(PAGE_SIZE)];
      for (const vma of image.vmas()) {
        for (let at = vma.start; at < vma.end; at += PAGE_SIZE) {
          if (image.page(at).kind !== 'copy' || (vma.flags & 7) === 0) continue;
          await image.read(at, stored);
          space.read(at, shown);
          if (Buffer.compare(stored, shown) !== 0) throw new Error(`page 0x${at.toString(16)}`);
        }
      }
      const restored = async (from: Image): Promise<AddressSpace> =>
        (await dumper.restore(from, createMachine({ memory: 64 * MiB }))).mms[0]!;
      const expected = await restored(await openImage(inMemory(whole)));
      expect((await dumper.compare(expected, await restored(image))).equal).toBe(true);
    } finally {
      await image.close();
    }
  });

  it('a file of that name comes before its parts', async () => {
    writeFileSync(path, 'no image');
    await expect(openImage(path)).rejects.toMatchObject({ code: 'IMAGE_NOT_RECOGNISED' });
    const image = await openImage(`${path}.000`);
    expect(image.bytes).toBe(whole.length);
    await image.close();
  });

  it.for<[string, (part: (number: number) => string) => void, string, string]>([
    ['a missing part', (part) => rmSync(part(2)), 'IMAGE_TRUNCATED', 'OUT.002'],
    ['the last one missing', (part) => rmSync(part(4)), 'IMAGE_TRUNCATED', 'OUT.004'],
    ['a short part', (part) => truncateSync(part(3), 100), 'IMAGE_TRUNCATED', 'OUT.003'],
    ['an empty part', (part) => truncateSync(part(1), 0), 'IMAGE_TRUNCATED', 'OUT.001'],
    [
      'a first part that is cut',
      (part) => truncateSync(part(0), 5000),
      'IMAGE_TRUNCATED',
      'OUT.000',
    ],
    ['a first part of one block', (part) => truncateSync(part(0), 4096), 'IMAGE_TRUNCATED', 'OUT.'],
    [
      'a long part',
      (part) => writeFileSync(part(1), 'x', { flag: 'a' }),
      'IMAGE_CORRUPT',
      'OUT.001',
    ],
    [
      'a long last part',
      (part) => writeFileSync(part(4), 'x', { flag: 'a' }),
      'IMAGE_CORRUPT',
      '.004',
    ],
  ])('%s is named, by openImage and by verify', async ([, damage, code, name]) => {
    damage((number) => `${path}.00${number}`);
    await expect(openImage(path)).rejects.toMatchObject({ code });
    await expect(openImage(path)).rejects.toThrow(name);
    const { ok, problems } = await dumper.verify(path);
    expect(ok).toBe(false);
    expect(problems.filter(({ message }) => message.includes(name))).toMatchObject([{ code }]);
    expect(problems.map((problem) => problem.code)).not.toContain('IMAGE_CHECKSUM');
  });

  it('a part too many is a problem for verify alone', async () => {
    copyFileSync(`${path}.003`, `${path}.005`);
    writeFileSync(`${path}.0006`, 'not the name of a part');
    const image = await openImage(path);
    expect(image.bytes).toBe(whole.length);
    await image.close();
    const { ok, problems } = await dumper.verify(path);
    expect(ok).toBe(false);
    expect(problems).toMatchObject([{ code: 'IMAGE_CORRUPT', offset: whole.length }]);
    expect(problems[0]?.message).toContain("'OUT.005'");
  });

  it('parts that changed places are damage', async () => {
    copyFileSync(`${path}.002`, `${path}.001`);
    const { problems } = await dumper.verify(path);
    expect(problems.length).toBeGreaterThan(0);
  });

  it('a first part that is no image says so; one that is not there, too', async () => {
    writeFileSync(`${path}.000`, 'something else');
    await expect(openImage(path)).rejects.toMatchObject({ code: 'IMAGE_NOT_RECOGNISED' });
    rmSync(`${path}.000`);
    await expect(openImage(path)).rejects.toMatchObject({
      code: 'INPUT_FAILED',
      fields: { path, errno: 'ENOENT' },
    });
    const first = `${path}.000`;
    await expect(openImage(first)).rejects.toMatchObject({ fields: { path: first } });
  });

  it('a part that is a folder is no part', async () => {
    rmSync(`${path}.002`);
    mkdirSync(`${path}.002`);
    const opened = openImage(path);
    await expect(opened).rejects.toMatchObject({ code: 'INPUT_FAILED' });
    await expect(opened).rejects.toThrow('OUT.002 is not a regular file');
  });
});

/** An image in one file and in parts under the same name, and files that do not belong to it. */
const BEFORE: ReadonlyMap<string, string> = new Map([
  ['OUT', 'the old one, in one file'],
  ['OUT.000', 'old 0'],
  ['OUT.001', 'old 1'],
  ['OUT.041', 'old 41'],
  ['OUT.0410', 'not a part'],
  ['OUTER.000', 'of another image'],
]);
const OTHERS = ['OUT.0410', 'OUTER.000'];

function makeBefore(): void {
  for (const [name, content] of BEFORE) writeFileSync(join(folder, name), content);
}

const found = (): Map<string, string> =>
  new Map(names().map((name) => [name, readFileSync(join(folder, name), 'utf8')]));

describe('what was there before', () => {
  it('is replaced with force, stale parts and a file in one piece as well, and nothing else', async () => {
    makeBefore();
    await dumper.dump(space, { to: splitSink(path, { parts: 3, force: true }) });
    expect(names()).toEqual([...partNames(3), ...OTHERS].sort());
    for (const name of OTHERS) rmSync(join(folder, name));
    expect(joined().equals(whole)).toBe(true);
  });

  it.for(['OUT', 'OUT.000', 'OUT.002', 'OUT.999'])('%s keeps a dump from it', async (name) => {
    writeFileSync(join(folder, name), 'mine');
    const dump = dumper.dump(space, { to: splitSink(path, { parts: 2 }) });
    await expect(dump).rejects.toMatchObject({
      code: 'OUTPUT_EXISTS',
      fields: { path: join(folder, name) },
    });
    expect(found()).toEqual(new Map([[name, 'mine']]));
  });

  it('is not replaced where it is no file', async () => {
    mkdirSync(`${path}.001`);
    const dump = dumper.dump(space, { to: splitSink(path, { parts: 2, force: true }) });
    await expect(dump).rejects.toMatchObject({ code: 'OUTPUT_FAILED' });
    expect(names()).toEqual(['OUT.001']);
  });
});

/** The prototype that all file handles of this process share. */
async function handlePrototype(): Promise<fs.FileHandle> {
  const handle = await fs.open(folder, 'r');
  await handle.close();
  return Object.getPrototypeOf(handle);
}

const PARTS = 3;
const IS_LONG = process.env.MMDUMP_LONG === '1';
/** fsync of each part, of the directory with all names but the first, and with all names. */
const SYNCS = PARTS + 2;

describe('a dump that is stopped', () => {
  it.for([
    ['count', false],
    ['copy', false],
    ['copy', true],
  ] as const)('in %s, force %s, leaves what was there', async ([phase, force]) => {
    if (force) makeBefore();
    const controller = new AbortController();
    const dump = dumper.dump(space, {
      to: splitSink(path, { parts: PARTS, force }),
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.phase === phase) controller.abort();
      },
    });
    await expect(dump).rejects.toMatchObject({ code: 'ABORT_ERR' });
    expect(found()).toEqual(force ? BEFORE : new Map());
  });

  const cases = [false, true].flatMap((force) =>
    Array.from({ length: SYNCS }, (_, index) => [index + 1, force] as const),
  );
  it.for(cases)('in fsync %i, which does not return, force %s', async ([which, force]) => {
    if (force) makeBefore();
    const prototype = await handlePrototype();
    const { sync } = prototype;
    let calls = 0;
    let release = (): void => {};
    let tell = (): void => {};
    const reached = new Promise<void>((resolve) => {
      tell = resolve;
    });
    let stuckAt: fs.FileHandle | undefined;
    vi.spyOn(prototype, 'sync').mockImplementation(async function (this: fs.FileHandle) {
      if (++calls === which) {
        stuckAt = this;
        tell();
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      await sync.call(this);
    });
    const controller = new AbortController();
    const { signal } = controller;
    const to = splitSink(path, { parts: PARTS, force });
    const stopped = expect(dumper.dump(space, { to, signal })).rejects.toMatchObject({
      code: 'ABORT_ERR',
    });
    await reached;
    controller.abort();
    await stopped;
    expect(stuckAt?.fd).toBeGreaterThan(0); // not closed while a call on it has not returned
    expect(found()).toEqual(force ? BEFORE : new Map());
    release();
    while (stuckAt?.fd !== -1) await new Promise((resolve) => setImmediate(resolve));
    expect(found()).toEqual(force ? BEFORE : new Map());
    vi.restoreAllMocks();
    await dumper.dump(space, { to }); // the sink works again
    expect(names().filter((name) => !OTHERS.includes(name))).toEqual(partNames(PARTS));
  });

  it('says that it is whole once what it replaced is being removed', async () => {
    makeBefore();
    const controller = new AbortController();
    const promises: typeof fs = createRequire(import.meta.url)('node:fs/promises');
    const { unlink } = promises;
    vi.spyOn(promises, 'unlink').mockImplementation(async (name) => {
      if (String(name).includes('.old')) controller.abort();
      await unlink(name);
    });
    syncBuiltinESMExports();
    const to = splitSink(path, { parts: PARTS, force: true });
    const dump = dumper.dump(space, { to, signal: controller.signal });
    await expect(dump).rejects.toMatchObject({ code: 'OUTPUT_FAILED', message: /is whole/ });
    vi.restoreAllMocks();
    syncBuiltinESMExports();
    for (const name of OTHERS) rmSync(join(folder, name));
    expect(names()).toEqual(partNames(PARTS));
    expect(joined().equals(whole)).toBe(true);
  });

  /**
   * Dumps in a process of its own; `meanwhile` changes fsync or rename to end it with exit code 7.
   */
  function endOfProcess(force: boolean, meanwhile: string): void {
    if (force) makeBefore();
    const script = `
      import fs from 'node:fs/promises';
      import { syncBuiltinESMExports } from 'node:module';
      import { createDumper, createWorkload, splitSink } from ${JSON.stringify(MMDUMP)};
      const handle = await fs.open('.', 'r');
      const prototype = Object.getPrototypeOf(handle);
      await handle.close();
      let calls = 0;
      ${meanwhile}
      syncBuiltinESMExports();
      const { space } = await createWorkload('dense', { size: ${MiB} });
      const to = splitSink('OUT', { parts: ${PARTS}, force: ${force} });
      await (await createDumper({ workers: 1 })).dump(space, { to });
    `;
    const args = ['--input-type=module', '-e', script];
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 7, stderr: '' });
    expect(found()).toEqual(force ? BEFORE : new Map());
  }

  // In all of the first PARTS calls the parts have temporary names, so the short mode runs one of
  // them.
  const ends = cases.filter(([which, force]) => {
    return IS_LONG ? which >= PARTS : which === (force ? SYNCS : PARTS);
  });
  it.for(ends)('because its process ends in fsync %i, force %s', ([which, force]) => {
    const exit = `prototype.sync = async () => { if (++calls === ${which}) process.exit(7); };`;
    endOfProcess(force, exit);
  });

  it('because its process ends while old parts are put back after a failure', () => {
    endOfProcess(
      true,
      `let syncs = 0;
      prototype.sync = async () => { if (++syncs > ${PARTS}) throw new Error('broken, for a test'); };
      const { rename } = fs;
      fs.rename = async (from, to) => {
        if (from.includes('.old') && ++calls === 2) process.exit(7);
        await rename(from, to);
      };`,
    );
  });
});

const MMDUMP = import.meta.resolve('mmdump');
