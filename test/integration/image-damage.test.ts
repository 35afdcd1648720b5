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
  type Problem,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NAME_RECORD, STATE_RECORD } from '../../src/shared/formats/cpt/records.ts';
import { randomOf } from '../support/images/image-mutations.ts';
import {
  headRecord,
  imageOf,
  inMemory,
  mmRecord,
  notesRecord,
  smallSpace,
} from '../support/images/images.ts';
import { readSlowly, type Stretch } from '../support/images/slow-image.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() & 0x7fff_ffff : 64));

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

const BLOB_NAMES = { MM_AUXV: 'auxiliary vector', CORE_NOTES: 'notes', BITS: 'LDT' } as const;

/** Asserts that the first problem names the place of a flipped bit, as the slow walk finds it. */
function assertPlace(stretch: Stretch, problems: readonly Problem[], bit: string): void {
  const { from, what, type, mm, vma, pages } = stretch;
  const first = problems[0];
  const fail = (): void => {
    throw new Error(`${bit}, ${type} ${what} at ${from}: ${JSON.stringify(problems.slice(0, 3))}`);
  };
  if (first === undefined) throw new Error(`${bit}: not found`);
  if (what !== 'payload' || type === 'NAME' || type === 'STATE NAME') {
    // Nothing in a damaged record can be trusted, so the problem only says where the record stands.
    const header = type === 'NAME' ? NAME_RECORD.SIZE : STATE_RECORD.SIZE;
    const record = what === 'payload' ? from - header : from;
    const name =
      what === 'head' ? /file head|not an mmdump image/ : /^[A-Z_]+ at byte |^object at byte /;
    if (first.offset !== record || !name.test(first.message)) fail();
    if (what !== 'head' && !first.message.includes(`at byte ${record}`)) fail();
    return;
  }
  const text = (range: readonly number[]): string =>
    range.map((at) => `0x${at.toString(16)}`).join('-');
  const named =
    type === 'STATE'
      ? "state 'cpu'"
      : pages === null
        ? `mm ${mm}, ${BLOB_NAMES[type as keyof typeof BLOB_NAMES]}`
        : `mm ${mm}, VMA ${text(vma!)}, pages ${text(pages)}`;
  const isNamed = first.message.startsWith(
    `${named}, payload at byte ${from}: ${type === 'PAGES' ? 'xxh3' : 'crc32'} does`,
  );
  const isPlaced = first.offset === from && first.address === (pages?.[0] ?? null);
  if (!isNamed || !isPlaced || first.code !== 'IMAGE_CHECKSUM' || problems.length !== 1) fail();
}

describe('damage', () => {
  const which = IS_LONG ? 'every single bit' : 'two bits of every byte';
  it(`is found for ${which} of an image, with its place`, {
    timeout: 3_600_000,
  }, async () => {
    const state = { cpu: Uint8Array.of(1, 2, 3, 4, 5) };
    const good = await imageOf(dumper, smallSpace(), { state });
    const { stretches } = readSlowly(good);
    const bad = inMemory(good);
    const bytes = bad.chunks[0]!;
    let flips = 0;
    for (const stretch of stretches) {
      const { from, to, type, what } = stretch;
      for (let byte = from; byte < to; byte++) {
        // The long mode flips every bit; the short mode only some of those inside pages.
        const isInside = what === 'payload' && type === 'PAGES' && byte >= from + 16;
        if (!IS_LONG && isInside && byte < to - 16 && byte % 2039 !== 0) continue;
        for (let bit = IS_LONG ? 0 : byte % 4; bit < 8; bit += IS_LONG ? 1 : 4) {
          bytes[byte]! ^= 1 << bit;
          const { problems } = await dumper.verify(bad);
          bytes[byte]! ^= 1 << bit;
          flips++;
          assertPlace(stretch, problems, `bit ${bit} of byte ${byte}`);
        }
      }
    }
    expect(flips).toBeGreaterThan(IS_LONG ? 60_000 : 1200);
    expect(stretches.at(-1)?.to).toBe(good.length);
    expect((await dumper.verify(bad)).ok).toBe(true);
    console.log(`bit flips: ${flips} of ${good.length * 8} bits`);
  });

  it('is found wherever one bit of a large image is flipped, with its place', async () => {
    const { space } = await createWorkload('mixed', { size: 128 * MiB });
    const good = await imageOf(dumper, space);
    expect(good.length).toBeGreaterThan(64 * MiB);
    const { stretches } = readSlowly(good);
    const bad = inMemory(good);
    const bytes = bad.chunks[0]!;
    const random = randomOf(SEED, 0);
    const samples = IS_LONG ? 1000 : 48;
    const records = stretches.filter(({ what }) => what === 'record');
    for (let sample = 0; sample < samples; sample++) {
      // Records are a thousandth of the bytes, so every fourth sample is aimed at one.
      const record = random.of(records);
      const inRecord = record.from + random.below(record.to - record.from);
      const byte = sample % 4 === 0 ? inRecord : random.below(good.length);
      const bit = random.below(8);
      bytes[byte]! ^= 1 << bit;
      const { problems } = await dumper.verify(bad);
      bytes[byte]! ^= 1 << bit;
      const stretch = stretches.find(({ from, to }) => from <= byte && byte < to)!;
      assertPlace(stretch, problems, `MMDUMP_SEED=${SEED}: bit ${bit} of byte ${byte}`);
    }
    console.log(`bit flips: MMDUMP_SEED=${SEED}, ${samples} of ${good.length * 8} bits`);
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
              `pages 0x${anon.start.toString(16)}-0x[0-9a-f]+, payload at byte ${offset}: xxh3`,
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
    const stride = (length: number): number => {
      if (IS_LONG) return length < 2000 ? 1 : 61;
      if (length < 500) return 1;
      return length < 2000 ? 7 : 211;
    };
    for (let length = 0; length < good.length; length += stride(length)) {
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
    head.writeUInt16LE(3, 6);
    writeFileSync(path, head);
    await expect(openImage(path)).rejects.toMatchObject({ code: 'IMAGE_VERSION' });
  });
});

describe('an image that nobody could have made', () => {
  /** Writes a sparse file of `bytes` bytes, with these records at its begin and at its end. */
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
    // A head with a false count does not help.
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
      // The signal is aborted from the fourth look at it, in the middle of the walk.
      let looks = 0;
      const signal = new AbortController().signal;
      Object.defineProperty(signal, 'aborted', { get: () => ++looks > 3 });
      await expect(read(image, { signal })).rejects.toMatchObject(aborted);
    }
  });
});
