/** What the mms of an image have of their own, and what they share. */
import { instanceOf } from '../../shared/arguments/checks.ts';
import { vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { Image } from './image.ts';
import { isUnreachable } from './index/file-pages.ts';
import type { ImageMm } from './index/image-mm.ts';
import { type FamilyUsage, familyUsage, type LostMapping } from './memory-usage.ts';

/**
 * Bytes that each mm of an image shows (`rss`), its fair share of them (`pss`), and what it alone shows
 * (`unique`), and how many bytes sharing saved; see docs/CLASSIFICATION.md, "Memory of an mm". Made
 * from the records: no page is read.
 */
export function memoryUsage(image: Image): FamilyUsage {
  instanceOf(Image, 'an Image')('image', image);
  const donorOf = (source: number): number => image.mmAt(source)?.ordinal ?? -1;
  return familyUsage(
    image.mms().map((mm) => ({ blocks: mm.blocks, mappings: lostMappings(mm), donorOf })),
  );
}

function lostMappings({ vmas }: ImageMm): LostMapping[] {
  const mappings: LostMapping[] = [];
  for (const { start, end, pgoff, flags, file } of vmas) {
    if (file === null || !isUnreachable(file)) continue;
    if ((flags & (VM.IO | VM.PFNMAP)) !== 0) continue; // shows a device
    const isShared = (flags & VM.MAYSHARE) !== 0;
    mappings.push({ start: vpnOf(start), end: vpnOf(end), pgoff, file: file.id, isShared });
  }
  return mappings;
}
