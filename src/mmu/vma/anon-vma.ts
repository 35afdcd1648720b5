/**
 * The anon_vma of a VMA: which anonymous pages may belong together (mm/rmap.c). Here it is a number
 * only; it decides which VMAs may merge, and stands in MAPPING of anonymous page structs.
 *
 *   0 ──first anonymous page──▶ a neighbour's, if the two could be one VMA, else a new one
 *   fork: every VMA of the child that has one gets a new one, and is FORKED
 *
 * FORKED is the kernel's "anon_vma_chain is not singular": such a VMA merges only with one that has
 * the same anon_vma, never with one that has none.
 */
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';

const ACCESS = VM.READ | VM.WRITE | VM.EXEC;

/** The VMA's anon_vma, chosen now if it has none (anon_vma_prepare). mmap lock in either mode. */
export function prepareAnonVma(mm: Mm, slot: number): number {
  const { vmas } = mm;
  const own = vmas.anonVma(slot);
  if (own !== 0) return own;
  return vmas.adoptAnonVma(slot, neighbourAnonVma(mm, slot) || mm.machine.nextAnonVma());
}

/** The next VMA's or the one's before, so that the two can merge later (find_mergeable_anon_vma). */
function neighbourAnonVma(mm: Mm, slot: number): number {
  const { vmas } = mm;
  const ordinal = vmas.find(vmas.start(slot));
  if (ordinal + 1 < vmas.count) {
    const next = vmas.slot(ordinal + 1);
    const id = vmas.anonVma(next);
    if (id !== 0 && !vmas.isForked(next) && areCompatible(mm, slot, next)) return id;
  }
  if (ordinal > 0) {
    const previous = vmas.slot(ordinal - 1);
    const id = vmas.anonVma(previous);
    if (id !== 0 && !vmas.isForked(previous) && areCompatible(mm, previous, slot)) return id;
  }
  return 0;
}

/** Two neighbours that differ in nothing but what they allow (anon_vma_compatible). */
function areCompatible(mm: Mm, left: number, right: number): boolean {
  const { vmas } = mm;
  const border = vmas.end(left);
  return (
    border === vmas.start(right) &&
    vmas.file(left) === vmas.file(right) &&
    ((vmas.flags(left) ^ vmas.flags(right)) & ~ACCESS) === 0 &&
    vmas.fileIndex(left, border) === vmas.pgoff(right)
  );
}

/** Whether two neighbours' anonymous pages may lie in one VMA (is_mergeable_anon_vma). */
export function mayShareAnonVma(mm: Mm, left: number, right: number): boolean {
  const { vmas } = mm;
  const a = vmas.anonVma(left);
  const b = vmas.anonVma(right);
  if (a === b) return true;
  if (a !== 0 && b !== 0) return false;
  return !vmas.isForked(a === 0 ? right : left);
}
