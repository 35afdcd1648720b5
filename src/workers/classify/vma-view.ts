/** What the classifier reads of a VMA, once per VMA and granule. */
import { isUnreachableKind } from '../../mmu/files/file-record.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { FILE_VIEW } from '../../mmu/tables/classify.ts';
import { VMA_KIND } from '../../mmu/vma/vma-table.ts';
import { VM } from '../../shared/vm-flags.ts';

/** The VMA around the pages that are being classified. */
export interface VmaView {
  readonly slot: number;
  readonly file: number;
  /** FILE_VIEW. */
  readonly fileView: number;
  readonly isVdso: boolean;
  readonly isShared: boolean;
}

/** Reads the VMA in `slot`, whose flags the caller has read already. */
export function viewVma({ vmas, files }: Mm, slot: number, flags: number): VmaView {
  const file = vmas.file(slot);
  return {
    slot,
    file,
    fileView: file === 0 ? FILE_VIEW.NONE : viewOfKind(files.kind(file)),
    isVdso: vmas.kind(slot) === VMA_KIND.VDSO,
    isShared: (flags & VM.MAYSHARE) !== 0,
  };
}

function viewOfKind(kind: number): number {
  return isUnreachableKind(kind) ? FILE_VIEW.UNREACHABLE : FILE_VIEW.LIVING;
}
