/** Copies of adopted pages, which a child or a snapshot maps instead of them. */
import type { Pfn } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';

export function isAdopted({ memory, pages }: Mm, pfn: number): boolean {
  return memory.has(pfn) && (pages.flags(pfn) & PG.ADOPTED) !== 0;
}

/**
 * Returns the frame of a copy, which counts as mapped once. Throws ENOMEM if no frame is free, and
 * BANK_UNREACHABLE.
 */
export function copyAdopted({ memory, pages, allocator, thread }: Mm, from: number): Pfn {
  memory.assertReachable(from); // first: if it throws, no frame is lost
  const pfn = allocator.allocate(thread);
  memory.copy(pfn, from);
  pages.describe(pfn, PG.ANON | PG.SWAPBACKED, pages.mapping(from), pages.index(from));
  pages.addMapping(pfn);
  return pfn;
}
