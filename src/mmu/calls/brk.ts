/** brk (mm/mmap.c): the end of the heap. The mmap lock is held for writing. */
import { PAGE_SIZE, pageAlignUp, TASK_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { einval } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_ADDRESS } from '../mm/mm-struct.ts';
import { isFree, STACK_GUARD_GAP } from '../vma/place.ts';
import { mergeRangeLocked, unmapRangeLocked } from '../vma/vma-edit.ts';
import { MAX_MAP_COUNT, VMA_KIND } from '../vma/vma-table.ts';

const { start_brk: START_BRK, brk: BRK, def_flags: DEF_FLAGS } = MM_ADDRESS;
/** VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT */
const HEAP_FLAGS = VM.READ | VM.WRITE | VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC | VM.ACCOUNT;

/**
 * Moves the break to `address` and returns where it is then. As in Linux a break that cannot be
 * moved is no error: the old one is returned. brk(0) asks for it.
 */
export function brkLocked(mm: Mm, address: number): number {
  if (!Number.isSafeInteger(address) || address < 0) throw einval(`brk: ${address}: no address`);
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

/** Something has to be mapped at the old end, below it, or the heap is not there any more. */
function shrinkHeap(mm: Mm, to: number, from: number): boolean {
  const { vmas } = mm;
  const ordinal = vmas.find(to);
  if (ordinal === vmas.count || vmas.start(vmas.slot(ordinal)) >= from) return false;
  unmapRangeLocked(mm, to, from);
  return true;
}

/**
 * do_brk_flags: joins the heap so far, but nobody else's mapping that ends where the heap begins;
 * keeps a page, and a stack's gap, from what lies above.
 */
function growHeap(mm: Mm, from: number, to: number): boolean {
  if (!isFree(mm, from, to + 1 - from, STACK_GUARD_GAP)) return false;
  if (mm.vmas.count >= MAX_MAP_COUNT) return false;
  const flags = (HEAP_FLAGS | mm.struct.get64(DEF_FLAGS)) >>> 0;
  const kind = VMA_KIND.ORDINARY;
  mm.vmas.insert({ start: from, end: to, flags, file: 0, pgoff: from, anonVma: 0, kind });
  if (from * PAGE_SIZE > mm.struct.get64(START_BRK)) mergeRangeLocked(mm, from, from);
  if ((flags & VM.LOCKED) !== 0) mm.toPopulate.push({ from, to });
  return true;
}
