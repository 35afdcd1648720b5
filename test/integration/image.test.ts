/** Reading images: random access, damage of every kind, and the way back into a machine. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type MemoryImage,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;

let folder: string;
let dumper: Dumper;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-image-'));
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

/** A few pages of several kinds: small enough to be damaged in every way. */
function smallSpace(): AddressSpace {
  const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
  const space = machine.createAddressSpace();
  const at = space.mmap({ ...ANON, length: 8 * PAGE_SIZE });
  space.fill(at, PAGE_SIZE, 3);
  space.fill(at + PAGE_SIZE, PAGE_SIZE, 0);
  space.write(at + 3 * PAGE_SIZE + 100, new Uint8Array([1, 2, 3]));
  const content = new Uint8Array(5000).fill(9);
  const { id } = machine.createFile({ path: '/lib/small', content });
  const file = space.mmap({ prot: 'rw', flags: ['private'], file: id, length: 2 * PAGE_SIZE });
  space.fill(file, PAGE_SIZE, 0);
  space.setAuxv(new Uint8Array(16).fill(1));
  space.setNotes(new Uint8Array(21).fill(2));
  space.modifyLdt({ entryNumber: 1, baseAddr: 0x1000, limit: 10 });
  return space;
}

async function imageOf(space: AddressSpace, options = {}): Promise<Buffer> {
  const sink = memorySink();
  await dumper.dump(space, { to: sink, ...options });
  return Buffer.from(sink.image.chunks[0]!).subarray(0, sink.image.bytes);
}

function inMemory(bytes: Uint8Array): MemoryImage {
  const chunk = new SharedArrayBuffer(Math.max(8, bytes.length));
  new Uint8Array(chunk).set(bytes);
  return { bytes: bytes.length, chunks: [chunk], chunkBytes: 2 ** 31 };
}

describe('an image', () => {
  it('is read at random: every page as the mm shows it', async () => {
    const { space } = await createWorkload('mixed', { size: 4 * MiB });
    const image = await openImage(inMemory(await imageOf(space)));
    const [stored, shown] = [new Uint8Array(PAGE_SIZE), new Uint8Array(PAGE_SIZE)];
    let compared = 0;
    for (const vma of image.vmas()) {
      for (let at = vma.start; at < vma.end; at += PAGE_SIZE) {
        const { kind } = image.page(at);
        const isKnown = kind !== 'absent' || vma.file === null || vma.file.isMemoryBacked;
        if (!isKnown || (vma.flags & 0x4000) !== 0 || (vma.flags & 7) === 0) continue;
        await image.read(at, stored);
        space.read(at, shown);
        if (Buffer.compare(stored, shown) !== 0) throw new Error(`page 0x${at.toString(16)}`);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(1000);
  });

  it('reads across pages and says which page it does not hold', async () => {
    const space = smallSpace();
    const image = await openImage(inMemory(await imageOf(space)));
    const [file, anon] = image.vmas();
    const bytes = new Uint8Array(3);
    await image.read(anon!.start + 3 * PAGE_SIZE + 99, bytes);
    expect([...bytes]).toEqual([0, 1, 2]);
    await image.read(anon!.start + 2 * PAGE_SIZE - 1, bytes);
    expect([...bytes]).toEqual([0, 0, 0]);
    expect(image.page(anon!.start + 4 * PAGE_SIZE)).toMatchObject({ kind: 'absent', offset: null });
    expect(image.page(anon!.start)).toMatchObject({ kind: 'copy', offset: expect.any(Number) });
    expect(image.page(anon!.start + PAGE_SIZE)).toMatchObject({ kind: 'zero' });
    expect(image.page(4096)).toEqual({ kind: 'unmapped', vma: null, offset: null });
    const at = file!.start + PAGE_SIZE;
    await expect(image.read(at, bytes)).rejects.toMatchObject({ code: 'PAGE_ABSENT' });
    await expect(image.read(at, bytes)).rejects.toThrow('/lib/small');
    await expect(image.read(2 ** 47, bytes)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await expect(image.ldt()).resolves.toHaveLength(16);
    await expect(image.auxv()).resolves.toEqual(new Uint8Array(16).fill(1));
    expect((await image.notes()).subarray(0, 21)).toEqual(new Uint8Array(21).fill(2));
  });

  it('is verified by any number of workers, whole or with blocks of a page', async () => {
    const { space } = await createWorkload('mixed', { size: 4 * MiB });
    for (const blocks of ['run', 'page'] as const) {
      const sink = memorySink({ chunkBytes: 65536 });
      const report = await dumper.dump(space, { to: sink, blocks });
      const result = await dumper.verify(sink.image);
      const { copy, zero } = report.mms[0]!.pages;
      expect(result).toMatchObject({ ok: true, id: report.image.id, pages: copy + zero });
      expect((await openImage(sink.image)).id).toBe(report.image.id);
    }
  });
});

describe('damage', () => {
  it('is found for every single bit of an image, with its place', async () => {
    const good = await imageOf(smallSpace());
    const image = await openImage(inMemory(good));
    const blocks = image.mms()[0]!.blocks;
    const bad = inMemory(good);
    const bytes = new Uint8Array(bad.chunks[0]!);
    let flips = 0;
    // Every bit of the records, and of the first and last words of every payload.
    const interesting = (byte: number): boolean => {
      for (let index = 0; index < blocks.count; index++) {
        const { source, pages, kind } = blocks.at(index);
        const end = source + pages * PAGE_SIZE;
        if (kind === 1 && byte >= source + 16 && byte < end - 16) return byte % 509 === 0;
      }
      return true;
    };
    for (let byte = 0; byte < good.length; byte++) {
      if (!interesting(byte)) continue;
      for (let bit = 0; bit < 8; bit++) {
        bytes[byte]! ^= 1 << bit;
        const result = await dumper.verify(bad);
        bytes[byte]! ^= 1 << bit;
        flips++;
        const problem = result.problems[0];
        if (result.ok || problem === undefined || problem.offset > byte) {
          throw new Error(`bit ${bit} of byte ${byte}: ${JSON.stringify(result)}`);
        }
      }
    }
    expect(flips).toBeGreaterThan(6000);
    expect((await dumper.verify(bad)).ok).toBe(true);
  });

  it('names mm, VMA, pages and file offset of a damaged page', async () => {
    const good = await imageOf(smallSpace());
    const image = await openImage(inMemory(good));
    const anon = image.vmas()[1]!;
    const { offset } = image.page(anon.start);
    good[offset! + 77]! ^= 4;
    const { ok, problems } = await dumper.verify(inMemory(good));
    expect(ok).toBe(false);
    expect(problems).toEqual([
      {
        code: 'IMAGE_CHECKSUM',
        offset,
        address: anon.start,
        message: expect.stringMatching(
          new RegExp(
            `^mm 0, VMA 0x${anon.start.toString(16)}-0x${anon.end.toString(16)}, ` +
              `pages 0x${anon.start.toString(16)}-0x[0-9a-f]+, payload at byte ${offset}: payload_crc`,
          ),
        ),
      },
    ]);
  });

  it('reports two damaged pages and a damaged mapping together', async () => {
    const { space } = await createWorkload('mixed', { size: 2 * MiB });
    const good = await imageOf(space);
    const image = await openImage(inMemory(good));
    const [first, , third] = image.vmas().filter(({ pages }) => pages.copy > 0);
    for (const vma of [first!, third!]) {
      good[image.mms()[0]!.blocks.at(vma.firstBlock).source + 9]! ^= 1;
    }
    good[image.vmas()[0]!.offset + 40]! ^= 1;
    const { problems } = await dumper.verify(inMemory(good));
    expect(problems.map(({ code }) => code)).toEqual(Array(3).fill('IMAGE_CHECKSUM'));
  });

  it('is found wherever an image is cut or grown', async () => {
    const good = await imageOf(smallSpace());
    const path = join(folder, 'cut.cpt');
    const step = 61;
    for (let length = 0; length < good.length; length += length < 2000 ? 1 : step) {
      const cut = inMemory(good.subarray(0, length));
      const code = length < 4 ? 'IMAGE_NOT_RECOGNISED' : 'IMAGE_TRUNCATED';
      await expect(openImage(cut), `${length} bytes`).rejects.toMatchObject({ code });
      expect((await dumper.verify(cut)).problems[0]?.code, `${length} bytes`).toBe(code);
    }
    writeFileSync(path, Buffer.concat([good, Buffer.alloc(8)]));
    await expect(openImage(path)).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' });
    expect((await dumper.verify(path)).problems[0]?.message).toContain('total_len');
  });

  it('keeps a restore from succeeding, and gives the memory back', async () => {
    const good = await imageOf(smallSpace());
    const intact = await openImage(inMemory(good));
    const { offset } = intact.page(intact.vmas()[1]!.start);
    good[offset!]! ^= 1;
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
    const { free } = machine.memory;
    const image = await openImage(inMemory(good));
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({
      code: 'IMAGE_CHECKSUM',
      fields: expect.objectContaining({ offset }),
    });
    expect(machine.memory.free).toBe(free);
    expect(machine.addressSpaces()).toEqual([]);
  });

  it('of the file itself is one clear error', async () => {
    await expect(openImage(join(folder, 'none.cpt'))).rejects.toMatchObject({
      code: 'INPUT_FAILED',
      message: expect.stringContaining('none.cpt'),
    });
    await expect(openImage(folder)).rejects.toMatchObject({ code: 'INPUT_FAILED' });
    const path = join(folder, 'version.cpt');
    const head = Buffer.alloc(72);
    head.write('MMCP');
    head.writeUInt16LE(80, 4);
    head.writeUInt16LE(2, 6);
    writeFileSync(path, head);
    await expect(openImage(path)).rejects.toMatchObject({ code: 'IMAGE_VERSION' });
  });
});

describe('a restore', () => {
  it.each(['dense', 'sparse', 'manymaps', 'mixed'] as const)(
    'of %s is equal to the original, and dumps to the same bytes',
    async (name) => {
      const size = { dense: 8 * MiB, sparse: 2 ** 40, manymaps: 4 * MiB, mixed: 16 * MiB }[name];
      const { space, machine } = await createWorkload(name, { size });
      const original = await imageOf(space);
      const target = createMachine({ memory: 48 * MiB, maxAddressSpaces: 2, checks: true });
      for (const path of ['/usr/bin/mixed']) {
        const file = machine.lookupFile(path);
        if (file === undefined) continue;
        const content = new Uint8Array(file.size);
        const at = space.mmap({ prot: 'r', flags: ['private'], file: file.id, length: file.size });
        space.read(at, content);
        space.munmap(at, file.size);
        target.createFile({ path, content });
      }
      const image = await openImage(inMemory(original));
      const { mms } = await dumper.restore(image, target);
      expect(await dumper.compare(space, mms[0]!)).toMatchObject({ equal: true, difference: null });
      expect((await imageOf(mms[0]!)).equals(original)).toBe(true);
    },
  );

  it('keeps zeros that were written over a file, and the file beside them', async () => {
    const content = new Uint8Array(3 * PAGE_SIZE).fill(5);
    const original = createMachine({ memory: 2 * MiB });
    const space = original.createAddressSpace();
    const { id } = original.createFile({ path: '/lib/five', content });
    const at = space.mmap({ prot: 'rw', flags: ['private'], file: id, length: 3 * PAGE_SIZE });
    space.fill(at + PAGE_SIZE, PAGE_SIZE, 0);
    const image = await openImage(inMemory(await imageOf(space)));
    const target = createMachine({ memory: 2 * MiB });
    target.createFile({ path: '/lib/five', content });
    const { mms } = await dumper.restore(image, target);
    const bytes = new Uint8Array(3 * PAGE_SIZE);
    mms[0]!.read(at, bytes);
    const values = [0, 1, 2].map((page) => [
      ...new Set(bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)),
    ]);
    expect(values).toEqual([[5], [0], [5]]);
  });

  it('is SIGBUS with the reason, never zeros, where a file is missing', async () => {
    const image = await openImage(inMemory(await imageOf(smallSpace())));
    const { mms } = await dumper.restore(image, createMachine({ memory: 4 * MiB }));
    const at = image.vmas()[0]!.start + PAGE_SIZE;
    expect(() => mms[0]!.read(at, new Uint8Array(1))).toThrow(
      expect.objectContaining({ code: 'SIGBUS', message: expect.stringContaining('/lib/small') }),
    );
  });

  it('says ENOMEM when the machine is too small, and gives everything back', async () => {
    const image = await openImage(
      inMemory(await imageOf((await createWorkload('dense', { size: 8 * MiB })).space)),
    );
    const machine = createMachine({ memory: 4 * MiB });
    const { free } = machine.memory;
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({ code: 'ENOMEM' });
    expect(machine.memory.free).toBe(free);
  });
});

describe('a comparison', () => {
  it('names the first page and byte that differ', async () => {
    const one = smallSpace();
    const two = smallSpace();
    expect(await dumper.compare(one, two)).toMatchObject({ equal: true });
    const at = one.vmas()[1]!.start + 3 * PAGE_SIZE + 101;
    two.write(at, new Uint8Array([77]));
    two.write(at + PAGE_SIZE, new Uint8Array([77]));
    expect(await dumper.compare(one, two)).toMatchObject({
      equal: false,
      difference: { address: at },
    });
  });

  it('sees what was never touched and what was written with zeros as equal', async () => {
    const one = smallSpace();
    const two = smallSpace();
    two.fill(two.vmas()[1]!.start + 5 * PAGE_SIZE, PAGE_SIZE, 0);
    expect(await dumper.compare(one, two)).toMatchObject({ equal: true });
  });

  it('sees a mapping, a protection or an LDT entry that differs', async () => {
    const changes: ((space: AddressSpace) => void)[] = [
      (space) => space.mmap({ ...ANON, length: PAGE_SIZE, prot: 'r' }),
      (space) => space.mprotect(space.vmas()[1]!.start, PAGE_SIZE, 'r'),
      (space) => space.modifyLdt({ entryNumber: 0, baseAddr: 1, limit: 1 }),
      (space) => space.munmap(space.vmas()[0]!.start, PAGE_SIZE),
    ];
    for (const change of changes) {
      const two = smallSpace();
      change(two);
      expect((await dumper.compare(smallSpace(), two)).equal).toBe(false);
    }
  });
});
