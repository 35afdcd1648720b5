/** What a COPYPAGES object must be: see docs/IMAGE_FORMAT.md. */

import { NO_DIGEST } from '../../../shared/digest/digest-kind.ts';
import type { CopyPagesObject } from '../../../shared/formats/cpt/objects.ts';
import { addressOf, hex, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { BLOCK, type Block } from '../index/block-index.ts';
import { findVma, type ImageMm } from '../index/image-mm.ts';
import { type OpenVma, wrong } from './blocks.ts';

/**
 * The clone's pages must be stored by the donor itself, as data of its own, at the same addresses,
 * in private mappings that carry the same anonvmaid.
 */
function assertDonates(object: CopyPagesObject, vma: OpenVma, donor: ImageMm): void {
  const last = vpnOf(object.end);
  for (let vpn = vpnOf(object.start) as number; vpn < last; ) {
    const address = addressOf(vpn);
    const block = donor.blocks.find(vpn);
    if (block === undefined || block.kind !== BLOCK.DATA || block.isFilePages) {
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
 * A COPYPAGES object as a block; `donor` is the mm that its source names. `isWhole`: nothing of the
 * image before was lost, so the donor has to be there with all its pages.
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
    if (donor === undefined) throw wrong(object, `source ${source} is no earlier MM`, start);
    assertDonates(object, vma, donor);
  }
  const pages = (end - start) / PAGE_SIZE;
  vma.pages.clone += pages;
  const kind = BLOCK.CLONE;
  return { start: vpnOf(start), pages, kind, source, ...NO_DIGEST, isFilePages: false };
}
