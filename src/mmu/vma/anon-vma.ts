/**
 * The anon_vma of a VMA says which anonymous pages may belong together (mm/rmap.c). Here it is only
 * a number. It decides which VMAs may merge, and it stands in MAPPING of anonymous page structs.
 *
 *   0 ──first anonymous page──▶ that of a neighbour if the two could be one VMA, else a new one
 *   fork: a VMA of the child gets a new one if its parent VMA has one, and is FORKED
 *
 * FORKED stands for the kernel's "anon_vma_chain is not singular". Such a VMA merges only with one
 * that has the same anon_vma, never with one that has none.
 */
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';

const ACCESS = VM.READ | VM.WRITE | VM.EXEC;

/**
 * Returns the anon_vma of a VMA, and chooses one first if it has none (anon_vma_prepare). The mmap
 * lock is held in either mode.
 */
export function prepareAnonVma(mm: Mm, slot: number): number {
  const { vmas } = mm;
  const own = vmas.anonVma(slot);
  if (own !== 0) return own;
  return vmas.adoptAnonVma(slot, neighbourAnonVma(mm, slot) || mm.machine.nextAnonVma());
}

/**
 * The anon_vma of the next or the previous VMA if the two can merge later, else 0
 * (find_mergeable_anon_vma).
 */
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

/**
 * Whether two neighbours differ in nothing but the access that they allow (anon_vma_compatible).
 */
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

/** Whether two VMAs may merge as far as their anon_vmas go (is_mergeable_anon_vma). */
export function mayShareAnonVma(mm: Mm, left: number, right: number): boolean {
  const { vmas } = mm;
  const a = vmas.anonVma(left);
  const b = vmas.anonVma(right);
  if (a === b) return true;
  if (a !== 0 && b !== 0) return false;
  return !vmas.isForked(a === 0 ? right : left);
}
