/**
 * The huge zero page: 512 neighbouring frames of zeros that every read fault of a 2 MiB page shows
 * (mm_get_huge_zero_folio). It is made when it is first needed, and stays.
 */
import type { Pfn } from '../../shared/page.ts';
import { type FrameAllocator, MAX_BLOCK } from './frame-allocator.ts';
import { type PageStructs, PG } from './page-struct.ts';

/** First frame of the huge zero page, or 0 where memory has no room for it. */
export function hugeZeroPage(
  words: Int32Array, // of the machine's control block
  at: number, //        its word there: the first frame, 0 = not made yet; Atomics only
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
    pages.setFlags(pfn, 0); // another thread was quicker
    allocator.put(pfn, thread);
  }
  return before as Pfn;
}
