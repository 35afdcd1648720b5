/** Reclaim of pages that were loaded from a backing: nothing has to be written anywhere. */
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { backingOf, PTE, replaceEntry, swappedOfSoft } from '../tables/pte.ts';

const { WRITE, DIRTY, MERGED } = PTE;

/**
 * Puts the backed entry from which the page was loaded in the place of the leaf at words[at], which
 * shows the anonymous frame `pfn`. Returns false, and changes nothing, if the page has no origin, if
 * it may have been written, or if its backing was released. Other leaves of the frame stay as they
 * are: their turn comes when their mm is scanned. The caller holds the page-table lock, and then
 * drops the reference that the leaf had to the frame.
 */
export function backingOut(mm: Mm, words: Int32Array, at: number, pfn: number): boolean {
  const high = mm.pages.originHigh(pfn);
  if (high === 0 || (words[at]! & (WRITE | DIRTY)) !== 0) return false;
  const { backings } = mm.machine;
  if (!backings.isOpen(backingOf(high))) return false;
  // Pages that were merged since then are still the same by chance only.
  const merged = (mm.pages.flags(pfn) & PG.KSM) === 0 ? 0 : MERGED;
  const leafLow = words[at]!;
  const leafHigh = words[at + 1]!;
  replaceEntry(words, at, mm.pages.originLow(pfn) | merged | swappedOfSoft(leafLow), high);
  if (backings.isOpen(backingOf(high))) return true;
  replaceEntry(words, at, leafLow, leafHigh); // released meanwhile: the frame alone has the bytes
  return false;
}
