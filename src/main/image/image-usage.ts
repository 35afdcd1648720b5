/** The memory that each mm of an image has of its own, and the memory that they share. */
import { instanceOf } from '../../shared/arguments/checks.ts';
import { vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { Image } from './image.ts';
import { isUnreachable } from './index/file-pages.ts';
import type { ImageMm } from './index/image-mm.ts';
import { type FamilyUsage, familyUsage, type UnreachableMapping } from './memory-usage.ts';

/**
 * Computes how many bytes each mm of an image shows (`rss`), its fair share of them (`pss`), how
 * many it alone shows (`unique`), and how many bytes were saved by storing shared pages once. See
 * docs/CLASSIFICATION.md, "Memory of an mm". It uses the records only and reads no page.
 * OPTION_INVALID if it is given no Image, and IMAGE_CLOSED if the image was closed.
 */
export function memoryUsage(image: Image): FamilyUsage {
  instanceOf(Image, 'an Image')('image', image);
  const donorOf = (source: number): number => image.mmAt(source)?.ordinal ?? -1;
  return familyUsage(
    image.mms().map((mm) => ({ blocks: mm.blocks, mappings: unreachableMappings(mm), donorOf })),
  );
}

function unreachableMappings({ vmas }: ImageMm): UnreachableMapping[] {
  const mappings: UnreachableMapping[] = [];
  for (const { start, end, pgoff, flags, file } of vmas) {
    if (file === null || !isUnreachable(file)) continue;
    if ((flags & (VM.IO | VM.PFNMAP)) !== 0) continue; // the mapping shows a device
    mappings.push({ start: vpnOf(start), end: vpnOf(end), pgoff, file: file.id, flags });
  }
  return mappings;
}
