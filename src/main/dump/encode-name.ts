/** The fields of a NAME record, for a file of the machine. */
import { FILE_BACKING, FILE_KIND } from '../../mmu/files/file-record.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { NAME_KIND } from '../../shared/formats/cpt/records.ts';
import { DELETED_SUFFIX } from '../../shared/formats/deleted-suffix.ts';

/** The path as d_path gives it, in raw bytes: that of a deleted file has DELETED_SUFFIX. */
export function namePath(mm: Mm, file: number): Uint8Array {
  const path = mm.files.path(file);
  const deleted = (mm.files.kind(file) & FILE_KIND.DELETED) !== 0;
  return deleted ? Buffer.concat([path, Buffer.from(DELETED_SUFFIX)]) : path;
}

/** NAME_KIND bits of a file. */
export function nameKind(mm: Mm, file: number): number {
  const kind = mm.files.kind(file);
  const isMemory = (kind & FILE_KIND.MEMORY) !== 0;
  const isIncomplete = isMemory && mm.files.backing(file) === FILE_BACKING.UNREACHABLE;
  return (
    ((kind & FILE_KIND.DELETED) !== 0 ? NAME_KIND.DELETED : 0) |
    (isMemory ? NAME_KIND.MEMORY_BACKED : 0) |
    (isIncomplete ? NAME_KIND.INCOMPLETE : 0)
  );
}
