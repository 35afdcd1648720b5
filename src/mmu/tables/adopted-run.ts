/** Finds where leaves show adopted frames. The mmap lock is held in either mode. */
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { BANK_SHIFT } from '../physical/physical-memory.ts';
import { lockTable, unlockTable, walk } from './page-table.ts';
import { isPresent, PTE, pfnOf } from './pte.ts';

/** Neighbouring pages that all show adopted frames, which are neighbours too, or all do not. */
export interface AdoptedRun {
  /** The frame of the first page, or 0 if the pages show no adopted frames. */
  readonly first: number;
  readonly pages: number;
}

/** The run that begins at page `vpn`. It has `wanted` pages at most, which lie in one granule. */
export function adoptedRun(mm: Mm, vpn: number, wanted: number): AdoptedRun {
  const { cursor } = mm;
  if (walk(mm, mm.pgd, vpn, cursor) !== 'table') return { first: 0, pages: wanted };
  lockTable(mm, cursor.table);
  const first = adoptedAt(mm, cursor.words, cursor.at);
  let pages = 1;
  for (; pages < wanted; pages++) {
    const pfn = adoptedAt(mm, cursor.words, cursor.at + pages * 2);
    const isNext = pfn === first + pages && pfn >>> BANK_SHIFT === first >>> BANK_SHIFT;
    if (first === 0 ? pfn !== 0 : !isNext) break;
  }
  unlockTable(mm, cursor.table);
  return { first, pages };
}

/** The adopted frame that the leaf at words[at] shows, or 0. */
function adoptedAt({ memory, pages }: Mm, words: Int32Array, at: number): number {
  const low = words[at]!;
  if (!isPresent(low) || (low & PTE.SPECIAL) !== 0) return 0;
  const pfn = pfnOf(low, words[at + 1]!);
  return memory.has(pfn) && (pages.flags(pfn) & PG.ADOPTED) !== 0 ? pfn : 0;
}
