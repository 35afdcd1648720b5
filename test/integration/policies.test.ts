/**
 * Dumps that leave mappings out, estimate the size of the image, limit it, or leave holes in its
 * file.
 *
 * Invariants checked: VM_DONTDUMP mappings hold no pages and reading one is PAGE_ABSENT, except for
 * pages that another mapping stores · an estimate is exact, for every option, and creates nothing ·
 * a limit lets exactly its bytes through · a sparse file has the bytes of any other, in fewer
 * blocks
 */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type DumpOptions,
  fileSink,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  WORKLOADS,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

let folder: string;
let dumper: Dumper;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-policies-'));
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

describe('dontDump', () => {
  it('describes such mappings and stores nothing of them', async () => {
    const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const space = machine.createAddressSpace();
    const length = 4 * PAGE_SIZE;
    const heap = space.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
    const size = 2 * length;
    const { id } = machine.createFile({ path: '/memfd:x', memoryBacked: { size }, deleted: true });
    const shown = space.mmap({ length, prot: 'rw', flags: ['shared'], file: id });
    const hidden = space.mmap({ length: size, prot: 'rw', flags: ['shared'], file: id });
    const own = space.mmap({ length, prot: 'rw', flags: ['private'], file: id });
    space.fill(heap, length, 1);
    space.fill(hidden, size, 2);
    space.fill(own, PAGE_SIZE, 3);
    for (const at of [heap, own]) space.madvise(at, length, 'dontdump');
    space.madvise(hidden, size, 'dontdump');
    const vmas = space.vmas().map(({ start, end }) => [start, end]);

    const to = memorySink();
    const report = await dumper.dump(space, { to, dontDump: true });
    expect(report.mms[0]!.pages).toMatchObject({ copy: 4, absent: 4 + 8 + 4 });
    expect(report.skipped).toEqual(
      [
        [heap, length],
        [hidden, size],
        [own, length],
      ]
        .sort(([a], [b]) => a! - b!)
        .map(([start, bytes]) => {
          const reason = 'the mapping is VM_DONTDUMP';
          return { mm: 0, start, end: start! + bytes!, reason };
        }),
    );
    const image = await openImage(to.image);
    expect(image.vmas().map(({ start, end }) => [start, end])).toEqual(vmas);
    const byte = new Uint8Array(1);
    for (const at of [heap, hidden + length, own, own + PAGE_SIZE]) {
      await expect(image.read(at, byte)).rejects.toMatchObject({ code: 'PAGE_ABSENT' });
    }
    for (const at of [shown, hidden]) {
      await image.read(at, byte); // the file's page, which the mapping before this one stores
      expect(byte[0]).toBe(2);
    }

    const all = memorySink();
    const { mms, skipped } = await dumper.dump(space, { to: all });
    expect(skipped).toEqual([]);
    expect(mms[0]!.pages.copy).toBe(4 + 8 + 1);
    const whole = await openImage(all.image);
    await whole.read(heap, byte);
    expect(byte[0]).toBe(1);
  });

  it('goes before the refusal of VM_HUGETLB, and a clone is stored by itself then', async () => {
    const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const parent = machine.createAddressSpace();
    const flags = ['private', 'anonymous'] as const;
    const start = parent.mmap({ length: PAGE_SIZE, prot: 'rw', flags });
    parent.fill(start, PAGE_SIZE, 5);
    const child = parent.fork();
    parent.madvise(start, PAGE_SIZE, 'dontdump');
    const to = memorySink();
    const { mms } = await dumper.dump([parent, child], { to, dontDump: true });
    expect(mms.map(({ pages }) => [pages.copy, pages.clone])).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });
});

describe('an estimate', () => {
  const OPTIONS: readonly Omit<DumpOptions, 'to'>[] = [
    {},
    { zeroPages: 'copy' },
    { blocks: 'page', checksum: 'none' },
    { dontDump: true },
  ];

  it.each(WORKLOADS)('of %s is what the dump comes to', async (name) => {
    const { space } = await createWorkload(name, { size: 2 * MiB });
    for (const options of OPTIONS) {
      const estimate = await dumper.estimate(space, options);
      const to = memorySink();
      const report = await dumper.dump(space, { ...options, to });
      expect(estimate.image).toEqual({ ...report.image, id: null });
      expect(estimate.mms).toEqual(report.mms);
      expect(estimate.skipped).toEqual(report.skipped);
      expect(estimate.perWorker.filter(({ phase }) => phase === 'copy')).toEqual([]);
      await expect(
        dumper.estimate(space, { ...options, sizeLimit: estimate.image.bytes - 1 }),
      ).rejects.toMatchObject({ code: 'SIZE_LIMIT' });
    }
  });
});

describe('a limit of the size', () => {
  it('lets exactly so many bytes through, and is checked before anything is written', async () => {
    const { space } = await createWorkload('mixed', { size: MiB });
    const { bytes } = (await dumper.estimate(space)).image;
    const path = join(folder, 'limited.cpt');
    const reserved: number[] = [];
    const sink = fileSink(path);
    const reserve = sink.reserve.bind(sink);
    sink.reserve = (extent) => {
      reserved.push(extent.bytes);
      return reserve(extent);
    };
    const refused = dumper.dump(space, { to: sink, sizeLimit: bytes - 1 });
    const fields = { bytes, limit: bytes - 1 };
    await expect(refused).rejects.toMatchObject({ code: 'SIZE_LIMIT', fields });
    await expect(refused).rejects.toThrow(`${bytes} bytes, the limit is ${bytes - 1}`);
    expect(reserved).toEqual([]);
    expect(readdirSync(folder)).toEqual([]);
    await dumper.dump(space, { to: sink, sizeLimit: bytes });
    expect(statSync(path).size).toBe(bytes);
    rmSync(path);
  });

  it.each([-1, 1.5, Number.NaN])('of %s bytes is refused', async (sizeLimit) => {
    const { space } = await createWorkload('dense', { size: MiB });
    const dump = dumper.dump(space, { to: memorySink(), sizeLimit });
    await expect(dump).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });
});

describe('a sparse file', () => {
  it('has the same bytes in fewer blocks of the disk', async (context) => {
    const probe = join(folder, 'probe');
    writeFileSync(probe, '');
    truncateSync(probe, MiB);
    if (statSync(probe).blocks > 8) context.skip('no holes on this file system');
    const machine = createMachine({ memory: 24 * MiB, maxAddressSpaces: 1, zeroPage: ZERO_PAGE });
    const space = machine.createAddressSpace();
    const flags = ['private', 'anonymous'] as const;
    const start = space.mmap({ length: 16 * MiB, prot: 'rw', flags });
    space.fill(start, 16 * MiB, 0);
    // The content does not align with the blocks of the file, and some runs of zeros have one page.
    for (const page of [0, 1, 700, 702, 704, 4095]) {
      space.fill(start + page * PAGE_SIZE + 4000, 96, page & 255 || 9);
    }
    const paths = [true, false].map((sparse) => join(folder, `${sparse}.cpt`));
    for (const [index, sparse] of [true, false].entries()) {
      const to = fileSink(paths[index]!, { sparse });
      await dumper.dump(space, { to, zeroPages: 'copy' });
    }
    const [sparse, full] = paths.map((path) => readFileSync(path));
    expect(sparse!.equals(full!)).toBe(true);
    expect(sparse!.length).toBeGreaterThan(16 * MiB);
    expect((await dumper.verify(paths[0]!)).ok).toBe(true);
    const blocks = paths.map((path) => statSync(path).blocks * 512);
    if (blocks[1]! < 16 * MiB) context.skip('this file system compresses');
    // Stored are six pages and the heads of the blocks between them. The blocks of the disk may be
    // larger than 4 KiB.
    expect(blocks[0]).toBeLessThan(4 * MiB);
    expect(blocks[1]).toBeGreaterThanOrEqual(16 * MiB);
  });
});
