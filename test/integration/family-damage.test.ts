/** COPYPAGES records that contradict the image around them, or are damaged. */
import { crc32 } from 'node:zlib';
import { createDumper, createMachine, type Dumper, MiB, openImage, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COPYPAGES_RECORD, VMA_IMAGE } from '../../src/shared/formats/cpt/records.ts';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

describe('clones that nobody could have made', () => {
  /**
   * An image of two mms, the second with four pages that are all clones. Returns the offsets of the
   * VMA and of the COPYPAGES of mm 1.
   */
  async function family(): Promise<{ bytes: Buffer; vma: number; clone: number }> {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const parent = machine.createAddressSpace();
    const start = parent.mmap({ ...ANON, length: 4 * PAGE_SIZE });
    parent.fill(start, 4 * PAGE_SIZE, 5);
    const bytes = await imageOf(dumper, [parent, parent.fork()]);
    const { offset } = (await openImage(inMemory(bytes))).vmas({ mm: 1 })[0]!;
    return { bytes, vma: offset, clone: offset + VMA_IMAGE.SIZE };
  }

  function reseal(bytes: Buffer, at: number, length: number, crcAt: number): void {
    bytes.writeUInt32LE(0, at + crcAt);
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + length)), at + crcAt);
  }

  const { SIZE, START, SOURCE, RECORD_CRC } = COPYPAGES_RECORD;

  it.each<[string, string, (bytes: Buffer, vma: number, clone: number) => void]>([
    [
      'of itself',
      'is not the offset of an earlier MM',
      (bytes, vma, clone) => {
        bytes.writeBigUInt64LE(BigInt(vma - 136), clone + SOURCE);
      },
    ],
    [
      'of no mm',
      'is not the offset of an earlier MM',
      (bytes, _vma, clone) => {
        bytes.writeBigUInt64LE(80n, clone + SOURCE);
      },
    ],
    [
      'outside of the mapping',
      'outside its VMA',
      (bytes, _vma, clone) => {
        bytes.writeBigUInt64LE(bytes.readBigUInt64LE(clone + START) - 4096n, clone + START);
      },
    ],
    [
      'without an id',
      'anonvmaid 0',
      (bytes, vma) => {
        bytes.writeUInt32LE(0, vma + VMA_IMAGE.ANONVMA);
        bytes.writeUInt32LE(0, vma + VMA_IMAGE.ANONVMAID);
      },
    ],
    [
      'of another id',
      'anonvmaid 2',
      (bytes, vma) => bytes.writeUInt32LE(2, vma + VMA_IMAGE.ANONVMAID),
    ],
    [
      'with half an id',
      'anonvma 0',
      (bytes, vma) => bytes.writeUInt32LE(0, vma + VMA_IMAGE.ANONVMA),
    ],
    [
      'in a shared mapping',
      'shared mapping',
      (bytes, vma) => {
        bytes.writeUInt32LE(
          bytes.readUInt32LE(vma + VMA_IMAGE.FLAGS) | 0x88,
          vma + VMA_IMAGE.FLAGS,
        );
      },
    ],
  ])('%s are IMAGE_CORRUPT', async (_name, message, change) => {
    const { bytes, vma, clone } = await family();
    await openImage(inMemory(bytes));
    change(bytes, vma, clone);
    reseal(bytes, vma, VMA_IMAGE.SIZE, VMA_IMAGE.RECORD_CRC);
    reseal(bytes, clone, SIZE, RECORD_CRC);
    await expect(openImage(inMemory(bytes))).rejects.toMatchObject({
      code: 'IMAGE_CORRUPT',
      message: expect.stringContaining(message),
    });
    const { ok, problems } = await dumper.verify(inMemory(bytes));
    expect(ok).toBe(false);
    expect(problems[0]?.code).toBe('IMAGE_CORRUPT');
  });

  it('are found for every bit of their record that is flipped', async () => {
    const { bytes, clone } = await family();
    for (let bit = 0; bit < SIZE * 8; bit++) {
      const at = clone + (bit >> 3);
      bytes[at]! ^= 1 << (bit & 7);
      const { problems } = await dumper.verify(inMemory(bytes));
      bytes[at]! ^= 1 << (bit & 7);
      expect(problems[0]?.offset, `bit ${bit}`).toBe(clone);
    }
  });

  it('are no problems of their own where the record of the donor is damaged', async () => {
    const { bytes } = await family();
    const image = await openImage(inMemory(bytes));
    const { offset } = image.page(image.vmas()[0]!.start);
    bytes[offset! - 20]! ^= 1;
    const { problems } = await dumper.verify(inMemory(bytes));
    expect(problems.map(({ code }) => code)).toEqual(['IMAGE_CHECKSUM']);
  });

  it('of the same address and another place in its file get frames of their own', async () => {
    const { bytes, vma, clone } = await family();
    const pgoff = bytes.readBigUInt64LE(vma + VMA_IMAGE.PGOFF);
    bytes.writeBigUInt64LE(pgoff + 1n, vma + VMA_IMAGE.PGOFF);
    reseal(bytes, vma, VMA_IMAGE.SIZE, VMA_IMAGE.RECORD_CRC);
    expect(clone).toBeGreaterThan(vma);
    const target = createMachine({
      memory: 4 * MiB,
      maxAddressSpaces: 2,
      checks: true,
      zeroPage: ZERO_PAGE,
    });
    const image = await openImage(inMemory(bytes));
    const { mms } = await dumper.restore(image, target);
    assertTablesTrue(target as never);
    const found = new Uint8Array(4 * PAGE_SIZE);
    mms[1]!.read(image.vmas()[0]!.start, found);
    expect(new Set(found)).toEqual(new Set([5]));
  });
});
