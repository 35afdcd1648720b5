/**
 * Pins: the references that a dump of a running machine holds, so that nothing it has yet to copy
 * goes away. The table has two words for every page of a unit. A word holds the number of a frame
 * or swap slot (a "pfn", see PhysicalMemory), or 0. A page of an unreachable file may need both
 * words, because its leaf need not show the frame that is in the page cache.
 *
 *   0 ──worker, after it took the reference──▶ pfn ──coordinator, before it puts the reference──▶ 0
 *
 * A thread can only be terminated at calls and at the ends of loops. There is neither between
 * taking a reference and storing the pin, so the table is correct even if a worker dies.
 */

/** The words of a page. */
export const PIN = {
  LEAF: 0, //   what the leaf of the page shows
  CACHED: 1, // what is in the page cache of its file
  WORDS: 2,
} as const;

/** Bytes of the table for units of `pages` pages in all. */
export function pinTableBytes(pages: number): number {
  return pages * PIN.WORDS * 4;
}
