/** What the encoder of native images says of files, and how long an image can get at most. */
import { FILE_BACKING, FILE_KIND } from '../../../mmu/files/file-record.ts';
import type { Mm } from '../../../mmu/mm.ts';
import {
  BITS_RECORD,
  COPYPAGES_RECORD,
  DATA_RECORD,
  FILE_HEAD,
  MM_RECORD,
  NAME_KIND,
  NAME_RECORD,
  VMA_IMAGE,
} from '../../../shared/image/cpt-records.ts';
import { DELETED_SUFFIX } from '../../deleted-suffix.ts';
import type { LayoutInput } from '../layout.ts';

export function pad8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** The path as d_path gives it, raw bytes. */
export function namePath(mm: Mm, file: number): Uint8Array {
  const path = mm.files.path(file);
  const deleted = (mm.files.kind(file) & FILE_KIND.DELETED) !== 0;
  return deleted ? Buffer.concat([path, Buffer.from(DELETED_SUFFIX)]) : path;
}

/** NAME_KIND bits of a file. */
export function nameKind(mm: Mm, file: number): number {
  const kind = mm.files.kind(file);
  const isMemory = (kind & FILE_KIND.MEMORY) !== 0;
  const isIncomplete = isMemory && mm.files.backing(file) === FILE_BACKING.LOST;
  return (
    ((kind & FILE_KIND.DELETED) !== 0 ? NAME_KIND.DELETED : 0) |
    (isMemory ? NAME_KIND.MEMORY_BACKED : 0) |
    (isIncomplete ? NAME_KIND.INCOMPLETE : 0)
  );
}

/** Pieces and arena bytes that no image of this input can exceed. */
export function upperBound(input: LayoutInput): {
  readonly pieces: number;
  readonly bytes: number;
} {
  let pieces = 1;
  let bytes: number = FILE_HEAD.SIZE;
  for (const { mm, tally, units, auxv, notes, ldt } of input.mms) {
    const vmas = mm.vmas.count;
    let blocks = 0;
    for (let unit = units.first; unit < units.last; unit++) blocks += input.units.runCount(unit);
    if (input.blockPerPage) {
      for (let vma = 0; vma < vmas; vma++) {
        blocks += tally.copy[vma]! + tally.zero[vma]! + tally.clone[vma]! + tally.guard[vma]!;
      }
    }
    pieces += 4 + vmas * 2 + blocks;
    bytes += MM_RECORD.SIZE + vmas * VMA_IMAGE.SIZE + blocks * COPYPAGES_RECORD.SIZE;
    bytes += 2 * DATA_RECORD.SIZE + pad8(auxv.length) + pad8(notes.length);
    bytes += BITS_RECORD.SIZE + ldt.length;
    bytes += namesBound(mm);
  }
  return { pieces, bytes };
}

function namesBound(mm: Mm): number {
  const seen = new Set<number>();
  let bytes = 0;
  for (let ordinal = 0; ordinal < mm.vmas.count; ordinal++) {
    const file = mm.vmas.file(mm.vmas.slot(ordinal));
    if (file === 0 || seen.has(file)) continue;
    seen.add(file);
    bytes += NAME_RECORD.SIZE + pad8(namePath(mm, file).length + 1);
  }
  return bytes;
}
