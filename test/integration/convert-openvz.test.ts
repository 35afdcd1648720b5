/**
 * `mmdump convert --format openvz`: images become container files of OpenVZ 6.
 *
 * Invariants checked: a checker that was written from the tables alone finds nothing wrong · every
 * page that the image stores is in the file, with its bytes, and no other is · mappings, addresses,
 * the auxiliary vector, the LDT and registers are those of the image.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  fileSink,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  splitSink,
} from 'mmdump';
import { afterAll, describe, expect, it } from 'vitest';
import { auxvNote, buildCore, threadNote } from '../support/core/build-core.ts';
import { createGolden, GOLDEN_NAMES } from '../support/images/golden-spaces.ts';
import { type CheckedFile, checkOpenvz } from '../support/openvz/check-file.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';
import { assertMatchesSchema } from '../support/programs/json-schemas.ts';

const cli = new CliFolder();
const { inside } = cli;
afterAll(() => cli.remove());

async function converted(name: string, ...args: string[]): Promise<[CheckedFile, string[]]> {
  const to = `${name}.${args.length}.vz`;
  const words = ['convert', name, to, '--format', 'openvz', '--json', ...args];
  const { status, stdout, stderr } = await inside(...words);
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  const { image, warnings } = JSON.parse(stdout);
  const bytes = readFileSync(join(cli.path, to));
  expect(image).toEqual({ path: to, format: 'openvz', bytes: bytes.length, id: null });
  return [checkOpenvz(bytes), warnings];
}

/** Compares a file with the image that it was made of. `only`: the mm that was chosen. */
async function compare(name: string, file: CheckedFile, only?: number): Promise<void> {
  const image = await openImage(join(cli.path, name));
  try {
    const mms = only === undefined ? image.mms() : [image.mm(only)];
    expect(file.mms.length).toBe(mms.length);
    for (const [index, mm] of mms.entries()) {
      const { vmas, fields, ldt, pages } = file.mms[index]!;
      expect(vmas).toEqual(
        mm.vmas.map(({ start, end, flags, isVdso, pgoff, file: shown }) => {
          const path = shown === null ? null : Buffer.from(shown.rawPath).toString('latin1');
          return { start, end, flags, type: isVdso ? 2 : 0, path, pgoff };
        }),
      );
      const { flags: _, ...addresses } = mm.fields;
      expect([...fields].map(Number)).toEqual(Object.values(addresses));
      expect(ldt.equals(await image.ldt({ mm: mm.ordinal }))).toBe(true);
      const page = Buffer.alloc(PAGE_SIZE);
      let stored = 0;
      for (const { start, end, file: shown } of mm.vmas) {
        const isLoose = shown !== null && (shown.isDeleted || shown.isMemoryBacked);
        for (let at = start; at < end; at += PAGE_SIZE) {
          const { kind } = image.page(at, { mm: mm.ordinal });
          const isStored = kind !== 'absent' && kind !== 'guard' && kind !== 'unmapped';
          if (isStored) stored++;
          if (!isLoose) expect(pages.has(at), `${kind} ${at.toString(16)}`).toBe(isStored);
          if (!pages.has(at) || kind === 'guard') continue;
          await image.read(at, page, { mm: mm.ordinal });
          expect(pages.get(at)!.equals(page), at.toString(16)).toBe(true);
        }
      }
      if (stored > 0) expect(pages.size).toBeGreaterThanOrEqual(stored);
    }
  } finally {
    await image.close();
  }
}

describe('an image that becomes an OpenVZ file', () => {
  it.each(GOLDEN_NAMES)('is sound, and holds what the image holds: %s', async (golden) => {
    const { spaces, options } = createGolden(golden);
    const dumper = await createDumper({ workers: 2 });
    await dumper.dump(spaces, { to: fileSink(join(cli.path, `${golden}.cpt`)), ...options });
    await dumper.close();
    const [file] = await converted(`${golden}.cpt`);
    await compare(`${golden}.cpt`, file);
    if (spaces.length > 1) {
      const last = spaces.length - 1;
      const [one, warnings] = await converted(`${golden}.cpt`, '--mm', `${last}`);
      expect(one.mms[0]!.copied).toBe(0);
      expect(warnings[0]).toContain('other address space');
      await compare(`${golden}.cpt`, one, last);
    }
  });

  it('shares the pages of a family', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const at = space.mmap({ length: MiB, prot: 'rw', flags: ['private', 'anonymous'] });
    space.fill(at, 60 * PAGE_SIZE, 3);
    const child = space.fork();
    child.fill(at + 10 * PAGE_SIZE, PAGE_SIZE, 4);
    const grandchild = child.fork();
    grandchild.fill(at, PAGE_SIZE, 5);
    const dumper = await createDumper({ workers: 2 });
    const to = fileSink(join(cli.path, 'forked.cpt'));
    await dumper.dump([space, child, grandchild], { to });
    await dumper.close();
    await machine.close();
    const [file, warnings] = await converted('forked.cpt');
    await compare('forked.cpt', file);
    expect(file.mms.map(({ copied }) => copied)).toEqual([0, 59, 59]);
    expect(warnings).toContainEqual(expect.stringContaining('has no mapping of its program'));
  });

  it('has a task for each thread, with its registers', async () => {
    const registers = Array.from({ length: 27 }, (_, index) => 0x1000n + BigInt(index));
    const fpu = { owner: 'CORE', type: 2, payload: Buffer.alloc(512, 7) };
    const unknown = { owner: 'GDB', type: 9, payload: Buffer.alloc(8) };
    const process = Buffer.alloc(136);
    process.writeUInt32LE(70, 24);
    process.write('worker', 40);
    const content = Buffer.alloc(PAGE_SIZE, 1);
    const core = buildCore(
      [{ address: 0x1_0000n, flags: 6, bytes: 4096n, content }],
      [
        threadNote(70, registers),
        { owner: 'CORE', type: 3, payload: process },
        fpu,
        threadNote(
          71,
          registers.map((value) => value * 2n),
        ),
        auxvNote([6, 4096n], [25, 0x1_0010n]),
        unknown,
      ],
    );
    writeFileSync(join(cli.path, 'threads.core'), core);
    expect((await inside('convert', 'threads.core', 't.cpt', '--format', 'cpt')).status).toBe(0);
    const [file, warnings] = await converted('t.cpt');
    await compare('t.cpt', file);
    expect(file.tasks).toMatchObject([
      { pid: 70, tgid: 70, name: 'worker', mm: 0, rip: 0x1010n, rsp: 0x1013n, fsBase: 0x1015n },
      { pid: 71, tgid: 70, name: 'worker', mm: 0, rip: 0x2020n, rsp: 0x2026n, fsBase: 0x202an },
    ]);
    expect(file.tasks[0]!.fpu.equals(fpu.payload)).toBe(true);
    expect(file.tasks[1]!.fpu.readUInt16LE(0)).toBe(0x37f);
    expect(file.mms[0]!.auxv.readBigUInt64LE(16)).toBe(25n);
    expect(file.mms[0]!.auxv.length).toBe(32);
    expect(warnings[0]).toBe('not kept: 1 note besides those of registers');
    const direct = await converted('threads.core');
    expect(direct[0]).toEqual(file);
    expect(direct[1]).toEqual(warnings);
  });

  it('has the pages of ancestors, and is not damaged by what cannot be read', async () => {
    const dump = ['dump', '--workload', 'dense:4M', '--quiet', '-o'];
    expect((await inside(...dump, 'p.cpt')).status).toBe(0);
    expect((await inside(...dump, 'q.cpt', '--parent', 'p.cpt')).status).toBe(0);
    const [file] = await converted('q.cpt');
    await compare('q.cpt', file);
    const bytes = readFileSync(join(cli.path, 'p.cpt'));
    bytes[2 * MiB]! ^= 1;
    writeFileSync(join(cli.path, 'bad.cpt'), bytes);
    const damaged = await inside('convert', 'bad.cpt', 'bad.vz', '--format', 'openvz');
    expectFailure(damaged, 1, 'IMAGE_CHECKSUM');
    expect(() => readFileSync(join(cli.path, 'bad.vz'))).toThrow('ENOENT');
    const stream = await inside('convert', 'p.cpt', '-', '--format', 'openvz');
    expectFailure(stream, 2, 'needs a file');
    for (const unused of [
      ['--workers', '2'],
      ['--blocks', 'page'],
    ]) {
      const refused = await inside('convert', 'p.cpt', 'u.vz', '--format', 'openvz', ...unused);
      expectFailure(refused, 2, 'leave out --workers and --blocks');
    }
  });
});

describe('a dump with the format openvz', () => {
  it('is what a conversion of the native image is, in a file, in parts and in memory', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const at = space.mmap({ length: 2 * MiB, prot: 'rw', flags: ['private', 'anonymous'] });
    space.fill(at, 300 * PAGE_SIZE, 3);
    const child = space.fork();
    child.fill(at, PAGE_SIZE, 4);
    const dumper = await createDumper({ workers: 2 });
    const path = (name: string): string => join(cli.path, name);
    await dumper.dump([space, child], { to: fileSink(path('two.cpt')) });
    const [checked, warnings] = await converted('two.cpt');
    const expected = readFileSync(path('two.cpt.0.vz'));
    const report = await dumper.dump([space, child], {
      to: fileSink(path('two.vz')),
      format: 'openvz',
    });
    expect(report.image).toEqual({
      path: path('two.vz'),
      format: 'openvz',
      bytes: expected.length,
      id: '',
    });
    expect(report.warnings).toEqual(warnings);
    expect(readFileSync(path('two.vz')).equals(expected)).toBe(true);
    expect(checked.mms.map(({ copied }) => copied)).toEqual([0, 299]);
    const parts = splitSink(path('two.parts'), { partBytes: MiB });
    await dumper.dump([space, child], { to: parts, format: 'openvz', pause: 'fork' });
    const joined = [0, 1].map((part) => readFileSync(path(`two.parts.00${part}`)));
    expect(Buffer.concat(joined).equals(expected)).toBe(true);
    const memory = memorySink();
    await dumper.dump([space, child], { to: memory, format: 'openvz' });
    const image = await openImage(memory.image);
    expect(image.mms().length).toBe(2);
    await image.close();
    expect(readdirSync(cli.path).filter((name) => name.startsWith('two.'))).toEqual(
      ['two.cpt', 'two.cpt.0.vz', 'two.parts.000', 'two.parts.001', 'two.vz'].sort(),
    );
    await dumper.close();
    await machine.close();
  });

  it('is refused where it cannot be, and leaves nothing behind', async () => {
    const dump = ['dump', '--workload', 'dense:1M', '--format', 'openvz'];
    expectFailure(await inside(...dump, '--dry-run'), 2, 'is not known before it is made');
    expectFailure(await inside(...dump, '-o', '-'), 2, 'needs a file');
    expectFailure(await inside(...dump, '-o', 'small.vz', '--size-limit', '64K'), 1, 'SIZE_LIMIT');
    const zstd = await inside(...dump, '-o', 'small.vz', '--compress', 'zstd');
    expectFailure(zstd, 2, 'an OpenVZ file has no compressed pages');
    expect(readdirSync(cli.path).filter((name) => name.startsWith('small'))).toEqual([]);
    const made = await inside(...dump, '--json');
    assertMatchesSchema('dump', JSON.parse(made.stdout));
    expect(checkOpenvz(readFileSync(join(cli.path, 'dense.openvz'))).mms.length).toBe(1);
  });
});
