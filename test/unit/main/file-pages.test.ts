import { describe, expect, it } from 'vitest';
import { BLOCK, BlockIndex } from '../../../src/main/image/block-index.ts';
import { FilePages } from '../../../src/main/image/file-pages.ts';
import type { ImageMm, ImageVma } from '../../../src/main/image/image-mm.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';

const MAYSHARE = 0x80;

/** A shared mapping of pages [pgoff, pgoff + pages) of file 1, at page `start`. */
function mapping(start: number, pgoff: number, pages: number): ImageVma {
  const file = { id: 1, isMemoryBacked: true, isDeleted: false };
  const range = { start: start * PAGE_SIZE, end: (start + pages) * PAGE_SIZE };
  return { ...range, pgoff, flags: MAYSHARE, file } as unknown as ImageVma;
}

/** An mm that stores these pages of its mappings. */
function mmOf(vmas: readonly ImageVma[], stored: readonly number[]): ImageMm {
  const blocks = new BlockIndex();
  const none = { source: 0, crc: 0, hasCrc: false, isFilePages: false };
  for (const start of stored) blocks.add({ ...none, start, pages: 1, kind: BLOCK.DATA });
  return { vmas, blocks } as unknown as ImageMm;
}

describe('the pages of a file', () => {
  // A long mapping, and short ones inside it, before it and behind it; 5 stores what 1 does not.
  const first = mmOf([mapping(100, 10, 100), mapping(300, 50, 2), mapping(400, 0, 5)], [105, 404]);
  const second = mmOf([mapping(500, 40, 30), mapping(600, 200, 10)], [511, 609]);
  const pages = new FilePages([first, second]);

  it('are found in whatever mapping of whatever mm stores them', () => {
    const found = (index: number): number | undefined => pages.find(1, index)?.vpn;
    const stored = { 4: 404, 15: 105, 51: 511, 209: 609 };
    for (let index = 0; index < 230; index++) {
      expect(found(index), `page ${index}`).toBe(stored[index as keyof typeof stored]);
    }
    expect(pages.find(2, 15)).toBeUndefined();
  });
});
