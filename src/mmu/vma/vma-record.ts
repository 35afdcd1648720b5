/** What a VMA record of an image says of a mapping. */
import type { VmaRecord } from '../../shared/formats/cpt/encode.ts';
import { VMA_TYPE } from '../../shared/formats/cpt/records.ts';
import { addressOf } from '../../shared/page.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { VMA_KIND } from './vma-table.ts';

/** Of the mapping in a slot, for which the image stores `pageNum` pages. */
export function vmaRecordOf(
  { vmas }: Mm,
  slot: number,
  anonId: number,
  pageNum: number,
): VmaRecord {
  const flags = vmas.flags(slot);
  const hasFile = vmas.file(slot) !== 0;
  const isVdso = vmas.kind(slot) === VMA_KIND.VDSO;
  const privileges = pagePrivileges(flags);
  return {
    hasFile,
    type: isVdso ? VMA_TYPE.VDSO : hasFile ? VMA_TYPE.FILE : VMA_TYPE.TYPE_0,
    anonId,
    start: addressOf(vmas.start(slot)),
    end: addressOf(vmas.end(slot)),
    flags,
    pgprotLow: privileges.low,
    pgprotHigh: privileges.high,
    pgoff: vmas.pgoff(slot),
    pageNum,
  };
}
