/** The VMA record that an image has of a VMA. */
import type { VmaRecord } from '../../shared/formats/cpt/encode.ts';
import { VMA_TYPE } from '../../shared/formats/cpt/records.ts';
import { addressOf } from '../../shared/page.ts';
import { pagePrivileges } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { VMA_KIND } from './vma-table.ts';

/**
 * Makes the record of the VMA in `slot`. `anonId` is its anonvmaid, which is 0 unless clones have
 * to do with the VMA. `pageNum` is the number of pages that the image stores for it. The mmap lock
 * is held in either mode, or the machine is frozen.
 */
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
