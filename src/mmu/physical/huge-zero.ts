/**
 * The huge zero page: 512 contiguous frames of zeros, which read faults of 2 MiB pages map
 * (mm_get_huge_zero_folio). It is allocated when it is first needed, and never freed.
 */
import type { Pfn } from '../../shared/page.ts';
import { type FrameAllocator, MAX_BLOCK } from './frame-allocator.ts';
import { type PageStructs, PG } from './page-struct.ts';

/**
 * Returns the first frame of the huge zero page, which it allocates on first use, or 0 when no
 * block of 512 frames is free. Where several threads allocate at once, one wins and the others free
 * theirs.
 */
export function hugeZeroPage(
  words: Int32Array, // of the machine's control block
  at: number, //        word of the first frame, 0 = not allocated yet; Atomics only
  allocator: FrameAllocator,
  pages: PageStructs,
  thread: number,
): Pfn {
  const known = Atomics.load(words, at);
  if (known !== 0) return known as Pfn;
  const first = allocator.tryAllocateHuge(thread, true);
  if (first === 0) return 0 as Pfn;
  for (let pfn = first; pfn < first + MAX_BLOCK; pfn++) {
    pages.setFlags(pfn, PG.RESERVED | PG.ZERO);
  }
  const before = Atomics.compareExchange(words, at, 0, first);
  if (before === 0) return first;
  for (let pfn = first; pfn < first + MAX_BLOCK; pfn++) {
    pages.setFlags(pfn, 0); // another thread was faster
    allocator.put(pfn, thread);
  }
  return before as Pfn;
}
