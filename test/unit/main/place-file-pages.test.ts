/**
 * Pages of the INODEs of an OpenVZ file go to mappings.
 *
 * Invariants checked: a page goes to at most one mapping, which shows it at that address and has no
 * page of its own there · every page that such a mapping shows goes to one · the bytes are those of
 * the page · what no mapping shows is listed, with its length.
 */
import { describe, expect, it } from 'vitest';
import { BLOCK, BlockIndex } from '../../../src/main/image/index/block-index.ts';
import { IndexBudget } from '../../../src/main/image/index/index-budget.ts';
import {
  type Container,
  type FoundMm,
  type FoundVma,
  Unread,
} from '../../../src/main/image/openvz/container.ts';
import { placeFilePages } from '../../../src/main/image/openvz/place-file-pages.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { type Random, randomOf } from '../../support/images/image-mutations.ts';

const [INODE, FILE, FIRST_BYTE] = [500, 600, 1_000_000];
const SHARED = 0x80; // VM_MAYSHARE
const FILE_PAGES = 40;

/** A block of pages that begins at `start`; their bytes begin at `source`. */
function block(start: number, pages: number, source: number): Parameters<BlockIndex['add']>[0] {
  const digest = { digest: 0, low: 0, high: 0 } as const;
  return { start, pages, kind: BLOCK.DATA, source, packed: 0, isFilePages: false, ...digest };
}

/** Disjoint runs of pages below `end`, ascending. */
function runs(random: Random, end: number): [start: number, pages: number][] {
  const found: [number, number][] = [];
  for (let at = random.below(4); at < end; ) {
    const pages = Math.min(1 + random.below(4), end - at);
    found.push([at, pages]);
    at += pages + random.below(5);
  }
  return found;
}

/** Adds a mapping of some pages of the file, behind the others of the mm. */
function addVma(random: Random, mm: FoundMm, offset: number): void {
  const pages = 1 + random.below(20);
  const pgoff = random.below(FILE_PAGES);
  const start = (mm.vmas.at(-1)?.end ?? 0x10_0000) / PAGE_SIZE + random.below(3);
  const isShared = random.below(2) === 0;
  const firstBlock = mm.blocks.count;
  if (!isShared) {
    for (const [at, count] of runs(random, pages)) mm.blocks.add(block(start + at, count, 8));
  }
  const rest = { isVdso: false, anonvmaid: 0n, pgprotLow: 0, pgprotHigh: 0, pgoff };
  const range = { start: start * PAGE_SIZE, end: (start + pages) * PAGE_SIZE };
  const blocks = { firstBlock, lastBlock: mm.blocks.count };
  mm.vmas.push({ offset, file: FILE, flags: isShared ? SHARED : 0, ...rest, ...range, ...blocks });
}

function containerOf(random: Random): { container: Container; stored: Map<number, number> } {
  const fields = {} as FoundMm['fields'];
  const mms = [0, 1].map((offset): FoundMm => {
    return { offset, fields, vmas: [], blocks: new BlockIndex(), auxv: null, ldt: null };
  });
  for (let vma = 0; vma < 6; vma++) addVma(random, random.of(mms), 100 + vma);
  const blocks = new BlockIndex();
  const stored = new Map<number, number>();
  for (const [start, pages] of runs(random, FILE_PAGES)) {
    const source = FIRST_BYTE + start * 2 * PAGE_SIZE;
    blocks.add(block(start, pages, source));
    for (let page = 0; page < pages; page++) stored.set(start + page, source + page * PAGE_SIZE);
  }
  const inode = { offset: INODE, bytes: FILE_PAGES * PAGE_SIZE, isMemoryBacked: true, blocks };
  const file = { offset: FILE, path: new Uint8Array([0x2f]), isDeleted: true, inode: INODE };
  const parts = { files: new Map([[FILE, file]]), inodes: new Map([[INODE, inode]]) };
  return { container: { time: 0n, mms, tasks: [], unread: new Unread(), ...parts }, stored };
}

/** Whether a mapping shows page `index` of the file and has no page of its own in that place. */
function isFree(mm: FoundMm, vma: FoundVma, index: number): boolean {
  const vpn = vma.start / PAGE_SIZE + index - vma.pgoff;
  const isShown = vpn * PAGE_SIZE >= vma.start && vpn * PAGE_SIZE < vma.end;
  return isShown && mm.blocks.find(vpn) === undefined;
}

describe('pages of files of an OpenVZ file', () => {
  it('go to one mapping each', () => {
    for (let item = 0; item < 100; item++) {
      const { container, stored } = containerOf(randomOf(11, item));
      const placed = placeFilePages(container, new IndexBudget('image'));
      const given = new Set<number>();
      for (const mm of container.mms) {
        for (const vma of mm.vmas) {
          let next = 0;
          for (const { start, pages, source } of placed.get(vma) ?? []) {
            expect(start).toBeGreaterThanOrEqual(next);
            next = start + pages;
            for (let page = 0; page < pages; page++) {
              const index = start + page - vma.start / PAGE_SIZE + vma.pgoff;
              expect(isFree(mm, vma, index) && !given.has(index), `case ${item}`).toBe(true);
              expect(source + page * PAGE_SIZE).toBe(stored.get(index));
              given.add(index);
            }
          }
        }
      }
      const shown = [...stored.keys()].filter((index) =>
        container.mms.some((mm) => mm.vmas.some((vma) => isFree(mm, vma, index))),
      );
      expect([...given].sort((a, b) => a - b)).toEqual(shown);
      const hidden = (stored.size - shown.length) * PAGE_SIZE;
      const line = `pages of a file that no mapping shows: ${hidden} bytes`;
      expect(container.unread.lines()).toEqual(hidden === 0 ? [] : [line]);
    }
  });
});
