/** Checks COPYPAGES objects (docs/IMAGE_FORMAT.md). */

import { NO_DIGEST } from '../../../shared/digest/digest-kind.ts';
import type { CopyPagesObject } from '../../../shared/formats/cpt/objects.ts';
import { addressOf, hex, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { BLOCK, type Block, hasContent } from '../index/block-index.ts';
import { findVma, type ImageMm } from '../index/image-mm.ts';
import { type OpenVma, wrong } from './blocks.ts';

/**
 * Throws an ImageProblem unless the donor itself stores the pages of the clone, as data of its own or
 * in the parent, at the same addresses, in private mappings that have the same anonvmaid.
 */
function assertDonates(object: CopyPagesObject, vma: OpenVma, donor: ImageMm): void {
  const last = vpnOf(object.end);
  for (let vpn = vpnOf(object.start) as number; vpn < last; ) {
    const address = addressOf(vpn);
    const block = donor.blocks.find(vpn);
    if (block === undefined || !hasContent(block) || block.isFilePages) {
      const message = `mm ${donor.ordinal} does not store page ${hex(address)} as its own`;
      throw wrong(object, message, address);
    }
    const given = findVma(donor.vmas, address);
    if (((given?.flags ?? 0) & VM.MAYSHARE) !== 0) {
      throw wrong(object, `mm ${donor.ordinal} shows page ${hex(address)} as shared`, address);
    }
    const { anonvmaid } = vma.record;
    if (anonvmaid === 0 || given?.anonvmaid !== anonvmaid) {
      const message = `anonvmaid ${anonvmaid} is not that of mm ${donor.ordinal} at ${hex(address)}`;
      throw wrong(object, message, address);
    }
    vpn = block.start + block.pages;
  }
}

/**
 * Checks a COPYPAGES object and returns it as a block. `donor` is the mm to which its source
 * refers. With `isWhole` no earlier object of the image was lost, so the donor must have all its
 * pages.
 */
export function checkCopyPages(
  object: CopyPagesObject,
  vma: OpenVma,
  donor: ImageMm | undefined,
  isWhole: boolean,
): Block {
  const { start, end, source } = object;
  if ((vma.record.flags & VM.MAYSHARE) !== 0) throw wrong(object, 'is in a shared mapping', start);
  if (isWhole) {
    if (donor === undefined)
      throw wrong(object, `source ${source} is not the offset of an earlier MM`, start);
    assertDonates(object, vma, donor);
  }
  const pages = (end - start) / PAGE_SIZE;
  vma.pages.clone += pages;
  const kind = BLOCK.CLONE;
  const rest = { ...NO_DIGEST, packed: 0, isFilePages: false };
  return { start: vpnOf(start), pages, kind, source, ...rest };
}
