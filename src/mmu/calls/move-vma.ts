/** Moving one VMA or a part of it (move_vma, copy_vma). The mmap lock is held for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import { unmergeRange } from '../fault/ksm.ts';
import type { Mm } from '../mm/mm.ts';
import { moveEntries } from '../tables/move.ts';
import { insertVma, unmapRange } from '../vma/vma-edit.ts';
import { MAX_MAP_COUNT, type VmaFields } from '../vma/vma-table.ts';

/** Arguments of `moveVma`. Numbers are pages. */
export interface Move {
  readonly from: number;
  readonly oldPages: number;
  readonly newPages: number;
  readonly dontUnmap: boolean;
  /** First page of the new place, where nothing is mapped. */
  readonly to: number;
}

/**
 * Moves the part of the VMA in `slot` that begins at `from` to a new VMA of `newPages` at `to`, and
 * unmaps the old place. With `dontUnmap` the old VMA stays, without pages. Returns `to`. If it
 * throws ENOMEM, no mapping has changed.
 */
export function moveVma(mm: Mm, slot: number, move: Move): number {
  const { from, oldPages, newPages, dontUnmap, to } = move;
  if (mm.vmas.count >= MAX_MAP_COUNT - 3) {
    throw new MmdumpError('ENOMEM', 'mremap: the mm has too many mappings to move one');
  }
  const source = mm.vmas.fields(slot);
  if ((source.flags & VM.MERGEABLE) !== 0) unmergeRange(mm, from, from + oldPages);
  insertVma(mm, movedFields(source, from, to, newPages));
  const progress = { done: 0 };
  try {
    moveEntries(mm, from, to, oldPages, progress);
  } catch (error) {
    moveEntries(mm, to, from, progress.done, { done: 0 }); // the old tables are still there
    unmapRange(mm, to, to + newPages);
    throw error;
  }
  if (dontUnmap) leaveEmpty(mm, source, from, oldPages);
  else if (oldPages > 0) unmapRange(mm, from, from + oldPages);
  return to;
}

/** copy_vma: the pgoff of anonymous memory without pages follows from its new address. */
function movedFields(source: VmaFields, from: number, to: number, pages: number): VmaFields {
  const isUntouched = source.file === 0 && source.anonVma === 0;
  const pgoff = isUntouched ? to : source.pgoff + (from - source.start);
  return { ...source, start: to, end: to + pages, pgoff };
}

/** dontunmap_complete: the old VMA stays, has no pages, and is not locked in memory. */
function leaveEmpty(mm: Mm, source: VmaFields, from: number, pages: number): void {
  const { vmas } = mm;
  const slot = vmas.lookup(from); // looked up again: the new VMA may have merged with the old one
  vmas.setFlags(slot, vmas.flags(slot) & ~(VM.LOCKED | VM.LOCKONFAULT));
  const isWhole = vmas.start(slot) === from && vmas.end(slot) === from + pages;
  if (isWhole && source.start === from) vmas.setAnonVma(slot, 0, false);
}
