/** How much memory a machine needs that an image is restored into on demand. */
import { GRANULE_PAGES, PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Image } from '../image/image.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';

/** Frames of the machine itself, and a margin. */
const SPARE_FRAMES = 4096;
/** The most page-table pages of a granule, one for each level below the top. */
const TABLES_PER_GRANULE = 3;

/**
 * Bytes of physical memory that suffice to restore an image with `load: 'on-demand'` and to dump
 * what was restored: page tables, and the pages that no entry can leave in the image.
 */
export function memoryOnDemand(image: Image): number {
  let frames = SPARE_FRAMES;
  for (const mm of image.mms()) {
    frames += granules(mm) * TABLES_PER_GRANULE;
    for (const vma of mm.vmas) frames += loadedPages(vma);
  }
  return frames * PAGE_SIZE;
}

/** Granules of 2 MiB in which blocks lie; no block lies in two. */
function granules({ blocks }: ImageMm): number {
  let count = 0;
  let last = -1;
  for (let index = 0; index < blocks.count; index++) {
    const granule = Math.floor(blocks.at(index).start / GRANULE_PAGES);
    if (granule !== last) count++;
    last = granule;
  }
  return count;
}

/**
 * Pages in ancestors, of files that only the image has, of the vdso and of devices. A clone is
 * counted as well: where its mapping differs from the donor's, it gets frames of its own.
 */
function loadedPages({ pages, file, flags, isVdso }: ImageVma): number {
  const isOfFile = file !== null && (file.isDeleted || file.isMemoryBacked);
  const isLoaded = isOfFile || isVdso || (flags & VM.PFNMAP) !== 0;
  const own = isLoaded ? pages.copy : 0;
  const zeros = file === null ? 0 : pages.zero;
  return own + zeros + pages.clone + pages.parent;
}
