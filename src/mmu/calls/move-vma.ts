/** Moving one VMA or a part of it (move_vma, copy_vma). The mmap lock is held for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import { unmergeRange } from '../fault/ksm.ts';
import type { Mm } from '../mm/mm.ts';
import { moveEntries } from '../tables/move.ts';
import { insertVmaLocked, unmapRangeLocked } from '../vma/vma-edit.ts';
import { MAX_MAP_COUNT, type VmaFields } from '../vma/vma-table.ts';

export interface Move {
  readonly from: number;
  readonly oldPages: number;
  readonly newPages: number;
  readonly dontUnmap: boolean;
  /** Where to; nothing is mapped there. */
  readonly to: number;
}

/**
 * Makes a VMA of `newPages` at `to` for the part of the VMA in `slot`, moves its pages there, and
 * unmaps the old place, unless that is to stay, empty. Returns `to`. ENOMEM changes nothing.
 */
export function moveVma(mm: Mm, slot: number, move: Move): number {
  const { from, oldPages, newPages, dontUnmap, to } = move;
  if (mm.vmas.count >= MAX_MAP_COUNT - 3) {
    throw new MmdumpError('ENOMEM', 'mremap: too many mappings to move one');
  }
  const source = mm.vmas.fields(slot);
  if ((source.flags & VM.MERGEABLE) !== 0) unmergeRange(mm, from, from + oldPages);
  insertVmaLocked(mm, movedFields(source, from, to, newPages));
  const progress = { done: 0 };
  try {
    moveEntries(mm, from, to, oldPages, progress);
  } catch (error) {
    moveEntries(mm, to, from, progress.done, { done: 0 }); // the tables are still there
    unmapRangeLocked(mm, to, to + newPages);
    throw error;
  }
  if (dontUnmap) leaveEmpty(mm, source, from, oldPages);
  else if (oldPages > 0) unmapRangeLocked(mm, from, from + oldPages);
  return to;
}

/** copy_vma: anonymous memory that holds nothing yet is numbered by its new place. */
function movedFields(source: VmaFields, from: number, to: number, pages: number): VmaFields {
  const isUntouched = source.file === 0 && source.anonVma === 0;
  const pgoff = isUntouched ? to : source.pgoff + (from - source.start);
  return { ...source, start: to, end: to + pages, pgoff };
}

/** dontunmap_complete: the old VMA stays, without pages and without a lock on them. */
function leaveEmpty(mm: Mm, source: VmaFields, from: number, pages: number): void {
  const { vmas } = mm;
  const slot = vmas.lookup(from); // the new VMA may have joined it
  vmas.setFlags(slot, vmas.flags(slot) & ~(VM.LOCKED | VM.LOCKONFAULT));
  const isWhole = vmas.start(slot) === from && vmas.end(slot) === from + pages;
  if (isWhole && source.start === from) vmas.setAnonVma(slot, 0, false);
}
