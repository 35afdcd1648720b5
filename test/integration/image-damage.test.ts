/** Images that are damaged, cut, or made to do harm. */

import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
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
import {
  headRecord,
  imageOf,
  inMemory,
  mmRecord,
  notesRecord,
  smallSpace,
} from '../support/images.ts';

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

describe('damage', () => {
  it('is found for every single bit of an image, with its place', async () => {
    const good = await imageOf(dumper, smallSpace());
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
    const good = await imageOf(dumper, smallSpace());
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
    const good = await imageOf(dumper, space);
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
    const good = await imageOf(dumper, smallSpace());
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
    const good = await imageOf(dumper, smallSpace());
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

describe('an image that nobody could have made', () => {
  /** Sparse: as long as `bytes` says, with these records at its begin and at its end. */
  function writeSparse(name: string, bytes: number, begin: Buffer, end: Buffer): string {
    const path = join(folder, name);
    const fd = openSync(path, 'w');
    ftruncateSync(fd, bytes);
    writeSync(fd, begin, 0, begin.length, 0);
    writeSync(fd, end, 0, end.length, bytes - end.length);
    closeSync(fd);
    return path;
  }

  it('has notes of 4 GiB: IMAGE_CORRUPT, whoever reads it', async () => {
    const notes = 2 ** 32;
    const bytes = 72 + 136 + 24 + notes;
    const begin = Buffer.concat([headRecord(bytes, 1), mmRecord(), notesRecord(notes, 0)]);
    const path = writeSparse('notes.cpt', bytes, begin, Buffer.alloc(0));
    await expect(openImage(path)).rejects.toMatchObject({
      code: 'IMAGE_CORRUPT',
      message: expect.stringContaining('CORE_NOTES'),
    });
    const { ok, problems } = await dumper.verify(path);
    expect(ok).toBe(false);
    expect(problems[0]).toMatchObject({ code: 'IMAGE_CORRUPT', offset: 72 + 136 });
  });

  it.for([0, 16 * MiB])('has notes of %i bytes, which it may', async (notes) => {
    const payload = Buffer.alloc(notes, 3);
    const bytes = 72 + 136 + 24 + notes;
    const parts = [headRecord(bytes, 1), mmRecord(), notesRecord(notes, crc32(payload)), payload];
    const image = await openImage(inMemory(Buffer.concat(parts)));
    expect(payload.equals(await image.notes())).toBe(true);
  });

  it('has more mms than any machine: IMAGE_CORRUPT', async () => {
    const most = 1024;
    const image = (count: number): MemoryImage => {
      const mms = Array.from({ length: count }, mmRecord);
      return inMemory(Buffer.concat([headRecord(72 + count * 136, count), ...mms]));
    };
    expect((await openImage(image(most))).mms()).toHaveLength(most);
    expect((await dumper.verify(image(most))).ok).toBe(true);
    await expect(openImage(image(most + 1))).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' });
    expect((await dumper.verify(image(most + 1))).problems[0]?.code).toBe('IMAGE_CORRUPT');
    // A head that lies about it does not help.
    const mms = Array.from({ length: most + 1 }, mmRecord);
    const lying = Buffer.concat([headRecord(72 + mms.length * 136, most), ...mms]);
    await expect(openImage(inMemory(lying))).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' });
  });

  it('cannot be dumped either: notes that are too long are refused', async () => {
    const space = smallSpace();
    space.setNotes(new Uint8Array(16 * MiB + 1));
    await expect(dumper.dump(space, { to: memorySink() })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining('notes'),
    });
  });
});

describe('reading the records', () => {
  it('ends as soon as its signal fires', async () => {
    const { space } = await createWorkload('manymaps', { size: 16 * MiB });
    const image = inMemory(await imageOf(dumper, space));
    const aborted = { name: 'AbortError', code: 'ABORT_ERR' };
    await expect(openImage(image, { signal: AbortSignal.abort() })).rejects.toMatchObject(aborted);
    for (const read of [openImage, dumper.verify.bind(dumper)]) {
      // The third look at the signal finds it aborted: in the middle of the walk.
      let looks = 0;
      const signal = new AbortController().signal;
      Object.defineProperty(signal, 'aborted', { get: () => ++looks > 3 });
      await expect(read(image, { signal })).rejects.toMatchObject(aborted);
    }
  });
});
