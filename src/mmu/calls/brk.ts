/** brk (mm/mmap.c): the end of the heap. The mmap lock is held for writing. */
import { PAGE_SIZE, pageAlignUp, TASK_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { einval } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_ADDRESS } from '../mm/mm-struct.ts';
import { isFree, STACK_GUARD_GAP } from '../vma/place.ts';
import { mergeRange, unmapRange } from '../vma/vma-edit.ts';
import { MAX_MAP_COUNT, VMA_KIND } from '../vma/vma-table.ts';

const { start_brk: START_BRK, brk: BRK, def_flags: DEF_FLAGS } = MM_ADDRESS;
/** VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT */
const HEAP_FLAGS = VM.READ | VM.WRITE | VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC | VM.ACCOUNT;

/**
 * Moves the break to `address` and returns the break. As in Linux, it is no error if the break
 * cannot be moved: the old break is returned. brk(0) therefore returns the current break. Throws
 * EINVAL unless `address` is a whole number, 0 or more.
 */
export function doBrk(mm: Mm, address: number): number {
  if (!Number.isSafeInteger(address) || address < 0)
    throw einval(`brk: ${address} is not an address`);
  const { struct } = mm;
  const current = struct.get64(BRK);
  if (address < struct.get64(START_BRK) || address > TASK_SIZE) return current;
  const from = pageAlignUp(current) / PAGE_SIZE;
  const to = pageAlignUp(address) / PAGE_SIZE;
  if (to < from && !shrinkHeap(mm, to, from)) return current;
  if (to > from && !growHeap(mm, from, to)) return current;
  struct.set64(BRK, address);
  return address;
}

/** Unmaps [to, from). Returns false if nothing is mapped there: the heap was unmapped before. */
function shrinkHeap(mm: Mm, to: number, from: number): boolean {
  const { vmas } = mm;
  const ordinal = vmas.find(to);
  if (ordinal === vmas.count || vmas.start(vmas.slot(ordinal)) >= from) return false;
  unmapRange(mm, to, from);
  return true;
}

/**
 * Maps [from, to) (do_brk_flags). The new VMA merges with the existing heap, but not with a mapping
 * that ends where the heap begins. At least one page must stay free below the next mapping above,
 * and the stack gap as well if that is a stack. Returns false if the heap cannot grow.
 */
function growHeap(mm: Mm, from: number, to: number): boolean {
  if (!isFree(mm, from, to + 1 - from, STACK_GUARD_GAP)) return false;
  if (mm.vmas.count >= MAX_MAP_COUNT) return false;
  const flags = (HEAP_FLAGS | mm.struct.get64(DEF_FLAGS)) >>> 0;
  const kind = VMA_KIND.ORDINARY;
  mm.vmas.insert({ start: from, end: to, flags, file: 0, pgoff: from, anonVma: 0, kind });
  if (from * PAGE_SIZE > mm.struct.get64(START_BRK)) mergeRange(mm, from, from);
  if ((flags & VM.LOCKED) !== 0) mm.toPopulate.push({ from, to });
  return true;
}
