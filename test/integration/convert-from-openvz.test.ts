/**
 * `mmdump convert` reads container files of OpenVZ 6.
 *
 * Invariants checked: an image that goes through an OpenVZ file and back has the same address
 * spaces, mappings, files, auxiliary vectors, LDTs and registers, every page with its bytes, and
 * the same pages shared · what does not come back is listed as a warning.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  fileSink,
  type Image,
  MiB,
  openImage,
  PAGE_SIZE,
  verifyImage,
} from 'mmdump';
import { afterAll, describe, expect, it } from 'vitest';
import { auxvNote, buildCore, threadNote } from '../support/core/build-core.ts';
import { createGolden, GOLDEN_NAMES } from '../support/images/golden-spaces.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';
import { assertMatchesSchema } from '../support/programs/json-schemas.ts';

const cli = new CliFolder();
const { inside } = cli;
afterAll(() => cli.remove());

/** Converts a file. Returns the warnings. */
async function convert(from: string, to: string, ...words: string[]): Promise<string[]> {
  const { status, stdout, stderr } = await inside('convert', from, to, '--json', ...words);
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  const json = JSON.parse(stdout);
  assertMatchesSchema('convert', json);
  return json.warnings;
}

async function withImages<T>(
  left: string,
  right: string,
  job: (a: Image, b: Image) => Promise<T>,
): Promise<T> {
  const a = await openImage(join(cli.path, left));
  const b = await openImage(join(cli.path, right));
  try {
    return await job(a, b);
  } finally {
    await a.close();
    await b.close();
  }
}

/** A page as an image shows it: its bytes, or why it has none. */
async function pageOf(image: Image, mm: number, address: number): Promise<Buffer | string> {
  const page = Buffer.alloc(PAGE_SIZE);
  try {
    await image.read(address, page, { mm });
    return page;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function mappings(image: Image): unknown {
  return image.mms().map(({ fields, vmas }) => ({
    fields,
    vmas: vmas.map(({ offset: _o, firstBlock: _f, lastBlock: _l, file, pages: _p, ...vma }) => {
      if (file === null) return { ...vma, file };
      const { rawPath, isDeleted, isMemoryBacked } = file;
      const path = Buffer.from(rawPath).toString('latin1');
      return { ...vma, file: { id: file.id, path, isDeleted, isMemoryBacked } };
    }),
  }));
}

/** Compares two images of the same address spaces. Returns how many pages both show. */
async function compare(a: Image, b: Image): Promise<number> {
  expect(mappings(b)).toEqual(mappings(a));
  let shown = 0;
  for (const { ordinal: mm, vmas } of a.mms()) {
    expect(Buffer.compare(await a.ldt({ mm }), await b.ldt({ mm }))).toBe(0);
    const auxv = pairs(await a.auxv({ mm }));
    if (auxv.length > 0) expect(pairs(await b.auxv({ mm }))).toEqual(auxv);
    for (const { start, end } of vmas) {
      let absent = 0;
      for (let at = start; at < end; at += PAGE_SIZE) {
        const { kind } = a.page(at, { mm });
        const isAbsent = kind === 'absent' && b.page(at, { mm }).kind === 'absent';
        if (kind === 'guard' || (isAbsent && absent++ > 3)) continue; // a few of them will do
        const left = await pageOf(a, mm, at);
        const right = await pageOf(b, mm, at);
        const isSame = left === right || (left instanceof Buffer && left.equals(right as Buffer));
        expect(isSame, `mm ${mm}: ${kind} ${at.toString(16)}: ${right}`).toBe(true);
        if (left instanceof Buffer) shown++;
      }
    }
  }
  return shown;
}

/** The auxiliary vector up to its end. */
function pairs(auxv: Uint8Array): string[] {
  const words = Buffer.from(auxv);
  const found: string[] = [];
  for (let at = 0; at + 16 <= words.length && words.readBigUInt64LE(at) !== 0n; at += 16) {
    found.push(words.toString('hex', at, at + 16));
  }
  return found;
}

function clones(image: Image): number[] {
  return image.mms().map(({ vmas }) => vmas.reduce((sum, { pages }) => sum + pages.clone, 0));
}

describe('an OpenVZ file', () => {
  it.each(GOLDEN_NAMES)(
    'shows what the image shows, and so does the way back: %s',
    async (name) => {
      const { spaces, options } = createGolden(name);
      const dumper = await createDumper({ workers: 2 });
      await dumper.dump(spaces, { to: fileSink(join(cli.path, `${name}.cpt`)), ...options });
      await dumper.close();
      await convert(`${name}.cpt`, `${name}.vz`, '--format', 'openvz');
      const shown = await withImages(`${name}.cpt`, `${name}.vz`, async (a, b) => {
        expect(b.format).toBe('openvz');
        expect(b.unread).toEqual([]);
        return await compare(a, b);
      });
      const warnings = await convert(`${name}.vz`, `${name}.back.cpt`, '--format', 'cpt');
      expect(warnings).toEqual([]);
      await withImages(`${name}.cpt`, `${name}.back.cpt`, async (a, b) => {
        expect(await compare(a, b)).toBe(shown);
        expect(clones(b)).toEqual(clones(a));
      });
      await convert(`${name}.vz`, `${name}.again.vz`, '--format', 'openvz');
      await withImages(`${name}.vz`, `${name}.again.vz`, (a, b) => compare(a, b));
    },
  );

  it('brings back a family that shares pages', async () => {
    const machine = createMachine({ memory: 32 * MiB });
    const space = machine.createAddressSpace();
    const at = space.mmap({ length: 6 * MiB, prot: 'rw', flags: ['private', 'anonymous'] });
    const shared = space.mmap({ length: MiB, prot: 'rw', flags: ['shared', 'anonymous'] });
    space.fill(at, 5 * MiB, 3);
    space.fill(shared + 8 * PAGE_SIZE, 20 * PAGE_SIZE, 9);
    const child = space.fork();
    child.fill(at + 10 * PAGE_SIZE, PAGE_SIZE, 4);
    child.fill(shared + 30 * PAGE_SIZE, PAGE_SIZE, 8);
    const dumper = await createDumper({ workers: 2 });
    await dumper.dump([space, child], { to: fileSink(join(cli.path, 'kin.cpt')) });
    await dumper.close();
    await machine.close();
    await convert('kin.cpt', 'kin.vz', '--format', 'openvz');
    expect(await convert('kin.vz', 'kin.back.cpt', '--format', 'cpt')).toEqual([]);
    await withImages('kin.cpt', 'kin.back.cpt', async (a, b) => {
      await compare(a, b);
      expect(clones(b)).toEqual([0, 5 * 256 - 1]);
    });
    await withImages('kin.vz', 'kin.back.cpt', async (a, b) => {
      expect(clones(a)).toEqual(clones(b));
    });
    const warnings = await convert('kin.vz', 'one.core', '--format', 'elf', '--mm', '1');
    expect(warnings[0]).toContain('other address space');
    await convert('one.core', 'one.cpt', '--format', 'cpt');
    await withImages('kin.cpt', 'one.cpt', async (a, b) => {
      for (const page of [0, 10, 11, 1279]) {
        const address = at + page * PAGE_SIZE;
        expect(await pageOf(b, 0, address)).toEqual(await pageOf(a, 1, address));
      }
      const address = shared + 30 * PAGE_SIZE;
      expect(await pageOf(b, 0, address)).toEqual(await pageOf(a, 1, address));
    });
  });

  it('brings back the registers of all threads', async () => {
    const registers = Array.from({ length: 27 }, (_, index) => 0x1000n + BigInt(index));
    const process = Buffer.alloc(136);
    process.writeUInt32LE(70, 24);
    process.write('worker', 40);
    const content = Buffer.alloc(PAGE_SIZE, 1);
    const fpu = { owner: 'CORE', type: 2, payload: Buffer.alloc(512, 7) };
    const notes = [
      threadNote(70, registers),
      { owner: 'CORE', type: 3, payload: process },
      fpu,
      threadNote(71, [...registers].reverse()),
      auxvNote([6, 4096n], [25, 0x1_0010n]),
    ];
    const core = buildCore([{ address: 0x1_0000n, flags: 6, bytes: 4096n, content }], notes);
    writeFileSync(join(cli.path, 'threads.core'), core);
    await convert('threads.core', 't.cpt', '--format', 'cpt');
    await convert('t.cpt', 't.vz', '--format', 'openvz');
    await convert('t.vz', 'back.cpt', '--format', 'cpt');
    const before = JSON.parse((await inside('inspect', 't.cpt', '--json')).stdout).mms[0];
    const after = JSON.parse((await inside('inspect', 'back.cpt', '--json')).stdout).mms[0];
    const segments = /^(cs|ss|ds|es|fs|gs)$/;
    const general = ({ threads }: { threads: { registers: object }[] }): unknown =>
      threads.map(({ registers: all, ...thread }) => ({
        ...thread,
        registers: Object.entries(all).filter(([name]) => !segments.test(name)),
      }));
    expect(after.threads.length).toBe(2);
    expect(general({ threads: [after.threads[0]] })).toEqual(
      general({ threads: [before.threads[0]] }),
    );
    expect(after.threads[1].registers.rip).toBe(before.threads[1].registers.rip);
    expect(after.process.name).toBe('worker');
    expect(after.process.pid).toBe(before.process.pid);
  });

  it('is inspected and verified, and is no parent and not flattened', async () => {
    const made = await inside('dump', '--workload', 'mixed:4M', '--quiet', '-o', 'm.cpt');
    expect(made.status).toBe(0);
    await convert('m.cpt', 'm.vz', '--format', 'openvz');
    const { stdout } = await inside('inspect', 'm.vz', '--json');
    const json = JSON.parse(stdout);
    assertMatchesSchema('inspect', json);
    expect(json).toMatchObject({ format: 'openvz', id: null, version: 0x803, unread: [] });
    const text = await inside('inspect', 'm.vz');
    expect(text.stdout).toContain('m.vz: openvz, ');
    const verified = await verifyImage(join(cli.path, 'm.vz'));
    expect(verified).toMatchObject({ ok: true, id: null, problems: [] });
    const checked = await inside('verify', 'm.vz', '--json');
    assertMatchesSchema('verify', JSON.parse(checked.stdout));
    const flat = await inside('convert', 'm.vz', 'f.cpt', '--flatten');
    expectFailure(flat, 2, 'expected a native image');
    const words = ['dump', '--workload', 'mixed:4M', '-o', 'c.cpt', '--parent', 'm.vz'];
    expectFailure(await inside(...words), 2, 'is an OpenVZ file, which has no id');
  });

  it('may have sections that nobody knows: they are skipped and listed', async () => {
    expect((await inside('dump', '--workload', 'dense:1M', '-o', 'd.cpt')).status).toBe(0);
    await convert('d.cpt', 'd.vz', '--format', 'openvz');
    const bytes = readFileSync(join(cli.path, 'd.vz'));
    writeFileSync(join(cli.path, 'more.vz'), withSection(bytes, 15, Buffer.alloc(64, 0xee)));
    const warnings = await convert('more.vz', 'more.cpt', '--format', 'cpt');
    expect(warnings).toEqual(['not kept: section 15: 80 bytes']);
    await withImages('d.cpt', 'more.cpt', (a, b) => compare(a, b));
    const { stdout } = await inside('inspect', 'more.vz');
    expect(stdout).toContain('not read: section 15: 80 bytes');
  });
});

/** How a file is damaged, the code, and a part of the message. */
const DAMAGE: readonly (readonly [
  what: string,
  damage: (file: Buffer) => Buffer,
  code: string,
  text: string,
])[] = [
  [
    'another signature',
    (file) => put(file, 0, 'writeUInt8', 0),
    'IMAGE_NOT_RECOGNISED',
    'and is no OpenVZ file',
  ],
  ['version', (file) => put(file, 6, 'writeUInt16LE', 0x700), 'IMAGE_VERSION', 'version 0x700'],
  [
    'a container of 32 bits',
    (file) => put(file, 8, 'writeUInt16LE', 0),
    'IMAGE_VERSION',
    'a 32-bit container (i386), expected x86-64',
  ],
  [
    'a process of 32 bits',
    (file) => put(file, firstOf(file, 0) + 215, 'writeUInt8', 0),
    'IMAGE_VERSION',
    'is one of 32 bits',
  ],
  [
    'pages that were sent before',
    (file) => put(file, firstOf(file, 4098) + 8, 'writeUInt32LE', 4105),
    'IMAGE_VERSION',
    'ITERPAGES at byte',
  ],
  ['the head only', (file) => file.subarray(0, 60), 'IMAGE_TRUNCATED', 'needs 80 bytes'],
  ['a cut', (file) => file.subarray(0, 5000), 'IMAGE_TRUNCATED', 'and the file ends at byte 5000'],
  [
    'no trailer',
    (file) => file.subarray(0, file.length - 264),
    'IMAGE_TRUNCATED',
    'without the trailer that ends every file',
  ],
  [
    'bytes behind the trailer',
    (file) => Buffer.concat([file, Buffer.alloc(4096)]),
    'IMAGE_CORRUPT',
    'bytes follow it, and it must be the last',
  ],
  [
    'a wild length',
    (file) => put(file, firstOf(file, 1024), 'writeUInt32LE', 0x7fff_fff8),
    'IMAGE_CORRUPT',
    'where it must end',
  ],
  [
    'pages outside of their mapping',
    (file) => put(file, firstOf(file, 4098) + 24, 'writeUInt32LE', 0),
    'IMAGE_CORRUPT',
    'PAGES at byte',
  ],
  [
    'a mapping over the one before it',
    (file) => {
      const at = firstOf(file, 1024);
      const next = at + Number(file.readBigUInt64LE(at));
      file.copy(file, next + 40, at + 40, at + 56);
      return file;
    },
    'IMAGE_CORRUPT',
    'at byte',
  ],
];

/** Byte of the first object of a type in the section of mms, or in that of tasks. */
function firstOf(file: Buffer, type: number): number {
  const section = type === 0 ? 3 : 4;
  let at = Number(file.readBigUInt64LE(file.length - 248 + 24 + section * 8)) + 16;
  while (file.readUInt32LE(at + 8) !== type) {
    const isParent = [0, 1, 1024].includes(file.readUInt32LE(at + 8));
    at += isParent ? file.readUInt16LE(at + 12) : Number(file.readBigUInt64LE(at));
  }
  return at;
}

function put(
  file: Buffer,
  at: number,
  write: 'writeUInt8' | 'writeUInt16LE' | 'writeUInt32LE',
  value: number,
): Buffer {
  file[write](value, at);
  return file;
}

describe('a bad OpenVZ file', () => {
  it('is refused with one clear line', async () => {
    expect((await inside('dump', '--workload', 'mixed:1M', '-o', 'ok.cpt')).status).toBe(0);
    await convert('ok.cpt', 'ok.vz', '--format', 'openvz');
    for (const [what, damage, code, text] of DAMAGE) {
      const bytes = damage(readFileSync(join(cli.path, 'ok.vz')));
      writeFileSync(join(cli.path, 'bad.vz'), bytes);
      const { status, stderr } = await inside('convert', 'bad.vz', 'bad.cpt', '--format', 'cpt');
      expect({ what, status, lines: stderr.trim().split('\n').length }).toEqual({
        ...{ what, status: 1, lines: 1 },
      });
      expect(stderr, what).toContain(`[${code}]`);
      expect(stderr, what).toContain(text);
      expect(existsSync(join(cli.path, 'bad.cpt')), what).toBe(false);
    }
  });
});

/** The file with one more section before its trailer. */
function withSection(file: Buffer, section: number, payload: Buffer): Buffer {
  const at = file.length - 264;
  const header = Buffer.alloc(16);
  header.writeBigUInt64LE(BigInt(16 + payload.length), 0);
  header.writeUInt32LE(section, 8);
  header.writeUInt16LE(16, 12);
  const trailer = Buffer.from(file.subarray(at));
  trailer.writeBigUInt64LE(BigInt(at), 16 + 24 + section * 8);
  trailer.writeBigUInt64LE(BigInt(at + 16 + payload.length), 16 + 24 + 23 * 8);
  return Buffer.concat([file.subarray(0, at), header, payload, trailer]);
}
