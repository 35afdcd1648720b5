/**
 * Checks restored address spaces against their image, page by page. It reads the image by random
 * access, which is not the way in which the pages were loaded.
 */

import { CONTENT_OF, contentName, contentOf } from '../../mmu/files/content.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { isZeroPage } from '../../mmu/tables/classify.ts';
import { backingOf, placeOf } from '../../mmu/tables/pte.ts';
import { addressOf, hex, PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { Image } from '../image/image.ts';
import { BLOCK, type Block, hasContent } from '../image/index/block-index.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import { withStoppedMm } from '../job/held-mms.ts';

/** The outcome of a check. */
export interface CheckResult {
  readonly equal: boolean;
  /** Pages that were compared, in the mms before the one that differs, or in all. */
  readonly pages: number;
  /** The first difference, or null. */
  readonly difference: { readonly address: number | null; readonly message: string } | null;
}

class Difference extends Error {
  readonly address: number | null;

  constructor(address: number | null, message: string) {
    super(message);
    this.address = address;
  }
}

/**
 * Compares every mm of an image with the address space that was restored from it: `spaces` has them
 * by ordinal. The machine is frozen while an mm is compared. Throws AbortError, MM_GONE, and the
 * errors of reading the image.
 */
export async function checkRestored(
  image: Image,
  spaces: readonly AddressSpace[],
  signal?: AbortSignal,
): Promise<CheckResult> {
  let pages = 0;
  try {
    for (const mm of image.mms()) {
      const space = spaces[mm.ordinal];
      if (space === undefined) throw new Difference(null, `mm ${mm.ordinal} was not restored`);
      pages += await withStoppedMm(space.reference, signal, (restored) =>
        checkMm(image, mm, restored, signal),
      );
    }
    return { equal: true, pages, difference: null };
  } catch (error) {
    if (!(error instanceof Difference)) throw error;
    return { equal: false, pages, difference: { address: error.address, message: error.message } };
  }
}

async function checkMm(
  image: Image,
  mm: ImageMm,
  restored: Mm,
  signal: AbortSignal | undefined,
): Promise<number> {
  if (restored.vmas.count !== mm.vmas.length) {
    throw new Difference(null, `${restored.vmas.count} mappings, expected ${mm.vmas.length}`);
  }
  let pages = 0;
  for (const [ordinal, vma] of mm.vmas.entries()) {
    throwIfAborted(signal);
    checkMapping(restored, ordinal, vma);
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      const block = mm.blocks.at(index);
      await checkBlock(image, mm, restored, ordinal, block);
      pages += block.pages;
    }
  }
  return pages;
}

function checkMapping(restored: Mm, ordinal: number, vma: ImageVma): void {
  const { start, end, flags, pgoff } = restored.vmas.fields(restored.vmas.slot(ordinal));
  const found = `${hex(addressOf(start))}-${hex(addressOf(end))} ${hex(flags)} ${pgoff}`;
  const expected = `${hex(vma.start)}-${hex(vma.end)} ${hex(vma.flags)} ${vma.pgoff}`;
  if (found !== expected) {
    throw new Difference(vma.start, `mapping ${ordinal} is ${found}, expected ${expected}`);
  }
}

async function checkBlock(
  image: Image,
  mm: ImageMm,
  restored: Mm,
  ordinal: number,
  block: Block,
): Promise<void> {
  const address = addressOf(block.start);
  const slot = restored.vmas.slot(ordinal);
  const hasBytes = hasContent(block) || block.kind === BLOCK.CLONE;
  const bytes = new Uint8Array(hasBytes ? block.pages * PAGE_SIZE : 0);
  if (hasBytes) await image.read(address, bytes, { mm: mm.ordinal });
  const found = new Uint8Array(PAGE_SIZE);
  for (let page = 0; page < block.pages; page++) {
    const content = contentOf(restored, slot, block.start + page);
    const expected = bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
    const isEqual = hasBytes
      ? isSame(restored, content, expected, found)
      : block.kind === BLOCK.GUARD
        ? content === CONTENT_OF.GUARD
        : isZero(restored, content);
    if (isEqual) continue;
    const at = address + page * PAGE_SIZE;
    const message = `page ${hex(at)} of mm ${mm.ordinal} differs: ${contentName(content)}`;
    throw new Difference(at, message);
  }
}

/** Whether the page has these bytes. One that lies in a backing is read to `into`. */
function isSame(mm: Mm, content: number, expected: Uint8Array, into: Uint8Array): boolean {
  if (content > 0) return Buffer.compare(mm.memory.page(content), expected) === 0;
  if (content !== CONTENT_OF.BACKED) return false;
  const { words, at } = mm.cursor; // where `contentOf` has found the entry
  const low = words[at]!;
  const high = words[at + 1]!;
  mm.machine.backings.read(backingOf(high), placeOf(low, high), 1, into, 0);
  return Buffer.compare(into, expected) === 0;
}

function isZero(mm: Mm, content: number): boolean {
  if (content <= 0) return content === CONTENT_OF.ZEROS;
  return isZeroPage(mm.memory.wordsOf(content), mm.memory.wordAt(content));
}

/** Bytes of physical memory that restoring an image holds at most. */
export function memoryForImage(image: Image): number {
  let frames = 4096; // a margin, and the frames of the machine itself
  for (const { vmas, blocks } of image.mms()) {
    for (const { pages } of vmas) {
      frames += pages.copy + pages.zero + pages.clone + pages.parent;
    }
    frames += blocks.count * 3; // a block lies in one granule: at most one table per level
  }
  return frames * PAGE_SIZE;
}
