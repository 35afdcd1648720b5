/** Reads pages by blocks: how often this reads the image, and what a read leaves behind. */
import { describe, expect, it } from 'vitest';
import { ImageChain } from '../../../src/main/image/chain/chain.ts';
import { BLOCK, type Block, BlockIndex } from '../../../src/main/image/index/block-index.ts';
import { FilePages } from '../../../src/main/image/index/file-pages.ts';
import type { ImageMm, ImageVma } from '../../../src/main/image/index/image-mm.ts';
import { IndexBudget } from '../../../src/main/image/index/index-budget.ts';
import { PagePlaces } from '../../../src/main/image/read/page-places.ts';
import { PageReader } from '../../../src/main/image/read/page-reader.ts';
import type { ByteSource } from '../../../src/main/image/source/byte-source.ts';
import { DIGEST, NO_DIGEST } from '../../../src/shared/digest/digest-kind.ts';
import { PayloadDigest } from '../../../src/shared/digest/payload-digest.ts';
import type { ImageHead } from '../../../src/shared/formats/cpt/head.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { DIGESTS } from '../../support/machine/kernels.ts';
import { xxh3Outside } from '../../support/reference/outside-xxh3.ts';

const FIRST_PAGE = 512;
const START = FIRST_PAGE * PAGE_SIZE;
const RECORD = 48;

/** Bytes in memory; counts how often they are read. */
class CountingSource {
  reads = 0;
  bytesRead = 0;
  readonly name = "image 'counted'";
  readonly image: Buffer;

  constructor(image: Buffer) {
    this.image = image;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    this.reads++;
    this.bytesRead += into.length;
    await new Promise((resolve) => setImmediate(resolve));
    this.image.copy(into, 0, offset, offset + into.length);
  }
}

const digest = new PayloadDigest(() => DIGESTS.inside);

interface Fixture {
  readonly source: CountingSource;
  readonly mm: ImageMm;
  readonly reader: PageReader;
  /** The content that the mm shows. */
  readonly content: Buffer;
}

/** An mm with one mapping of consecutive blocks, each of the given number of pages. */
function fixtureOf(blockPages: readonly number[], options: { cacheBytes?: number } = {}): Fixture {
  const blocks = new BlockIndex();
  const parts: Buffer[] = [];
  const contents: Buffer[] = [];
  let offset = 0;
  let start = FIRST_PAGE;
  for (const [number, pages] of blockPages.entries()) {
    const payload = Buffer.alloc(pages * PAGE_SIZE);
    for (let page = 0; page < pages; page++) payload.writeUInt32LE(start + page, page * PAGE_SIZE);
    payload[payload.length - 1] = number + 1;
    const expected = xxh3Outside(payload);
    const [low, high] = [expected.readUInt32LE(0), expected.readUInt32LE(4)];
    const block = {
      start,
      pages,
      kind: BLOCK.DATA,
      source: offset + RECORD,
      packed: 0,
      isFilePages: false,
    };
    blocks.add({ ...block, digest: DIGEST.XXH3, low, high });
    parts.push(Buffer.alloc(RECORD), payload);
    contents.push(payload);
    offset += RECORD + payload.length;
    start += pages;
  }
  const source = new CountingSource(Buffer.concat(parts));
  const vma = { start: START, end: start * PAGE_SIZE, flags: 3, pgoff: 0, file: null };
  const mm = mmOf(0, [vma as ImageVma], blocks);
  const bytes = source as unknown as ByteSource;
  const places = placesOf([mm], bytes);
  const { cacheBytes = 8 * MiB } = options;
  const reader = new PageReader(places, NO_ANCESTORS, cacheBytes, () => digest);
  return { source, mm, reader, content: Buffer.concat(contents) };
}

function mmOf(ordinal: number, vmas: readonly ImageVma[], blocks: BlockIndex): ImageMm {
  return { ordinal, offset: ordinal * 1000, vmas, blocks } as unknown as ImageMm;
}

const NO_ANCESTORS = new ImageChain([], 0, new IndexBudget('image'));

function placesOf(mms: readonly ImageMm[], source = NO_SOURCE): PagePlaces {
  const filePages = new FilePages(new IndexBudget('image'));
  const head = { dontDump: false } as ImageHead;
  return new PagePlaces(source, { head, states: [], mms, filePages }, NO_ANCESTORS);
}

const NO_SOURCE = { name: "image 'counted'" } as ByteSource;

describe('fault 12: an image is read by whole blocks', () => {
  it('with one read for each large block, straight into the buffer of the caller', async () => {
    const { source, mm, reader, content } = fixtureOf([512, 512, 300]);
    const into = Buffer.alloc(content.length);
    await reader.read(mm, START, into);
    expect(into.equals(content)).toBe(true);
    expect(source).toMatchObject({ reads: 3, bytesRead: content.length });
  });

  it('with one read for many small blocks that lie close together', async () => {
    const { source, mm, reader, content } = fixtureOf(Array<number>(256).fill(1));
    const into = Buffer.alloc(content.length);
    await reader.read(mm, START, into);
    expect(into.equals(content)).toBe(true);
    expect(source.reads).toBeLessThan(8);
  });

  it('once for all pages of a block that are read one after the other, or at the same time', async () => {
    const { source, mm, reader, content } = fixtureOf([512, 512]);
    const page = Buffer.alloc(PAGE_SIZE);
    for (let at = 0; at < 2 * MiB; at += PAGE_SIZE) {
      await reader.read(mm, START + at, page);
      expect(page.equals(content.subarray(at, at + PAGE_SIZE))).toBe(true);
    }
    expect(source.reads).toBe(1);
    const pages = [...Array(64).keys()].map((index) => 2 * MiB + index * PAGE_SIZE);
    const found = await Promise.all(
      pages.map(async (at) => {
        const into = Buffer.alloc(PAGE_SIZE);
        await reader.read(mm, START + at, into);
        return into;
      }),
    );
    pages.forEach((at, index) => {
      expect(found[index]!.equals(content.subarray(at, at + PAGE_SIZE))).toBe(true);
    });
    expect(source.reads).toBe(2);
  });

  it('for every page again when nothing is kept', async () => {
    const { source, mm, reader } = fixtureOf([8], { cacheBytes: 0 });
    const byte = Buffer.alloc(1);
    for (let page = 0; page < 8; page++) await reader.read(mm, START + page * PAGE_SIZE, byte);
    expect(source).toMatchObject({ reads: 8, bytesRead: 64 * PAGE_SIZE });
  });

  it('and writes nothing more once the read was rejected', async () => {
    const { source, mm, reader, content } = fixtureOf([64, 512, 64, 512, 64]);
    source.image[RECORD]! ^= 1;
    const into = Buffer.alloc(content.length);
    await expect(reader.read(mm, START, into)).rejects.toMatchObject({ code: 'IMAGE_CHECKSUM' });
    into.fill(0xee);
    const { reads } = source;
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(source.reads).toBe(reads);
    expect(into.every((byte) => byte === 0xee)).toBe(true);
  });
});

describe('fault 12: no part of a buffer stays unfilled without an error', () => {
  const clone: Block = {
    ...{ start: FIRST_PAGE, pages: 2, kind: BLOCK.CLONE, source: 0 },
    ...{ ...NO_DIGEST, packed: 0, isFilePages: false },
  };

  function stretchesOf(donorBlocks: readonly Block[], source: number): () => unknown {
    const given = new BlockIndex();
    for (const block of donorBlocks) given.add(block);
    const taken = new BlockIndex();
    taken.add({ ...clone, source });
    const mms = [mmOf(0, [], given), mmOf(1, [], taken)];
    return () => [...placesOf(mms).stretches(mms[1]!, START, 2 * PAGE_SIZE)];
  }

  const data: Block = { ...clone, kind: BLOCK.DATA, source: 48 };
  const corrupt = expect.objectContaining({ code: 'IMAGE_CORRUPT' });

  it('where the donor of a clone is missing', () => {
    expect(stretchesOf([data], 0)()).toMatchObject([{ kind: 'stored', bytes: 2 * PAGE_SIZE }]);
    expect(stretchesOf([data], 77)).toThrow(corrupt);
  });

  it('where the donor of a clone does not store the page, or only zeros, or another clone', () => {
    expect(stretchesOf([], 0)).toThrow(corrupt);
    expect(stretchesOf([{ ...data, pages: 1 }], 0)).toThrow(corrupt);
    expect(stretchesOf([{ ...data, kind: BLOCK.ZERO }], 0)).toThrow(corrupt);
    expect(stretchesOf([{ ...data, kind: BLOCK.CLONE, source: 0 }], 0)).toThrow(corrupt);
  });
});
