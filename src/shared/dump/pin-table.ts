/**
 * The references that a dump holds while the machine goes on running: two words for every page of a
 * unit, the frame or swap slot ("pfn", see PhysicalMemory) that is kept, 0 = none. A page of a file
 * that only memory holds may need both: its leaf need not show what the page cache has.
 *
 *   0 ──a worker, right after it took the reference──▶ pfn ──the coordinator gives it back──▶ 0
 *
 * Nothing that could end a thread lies between taking a reference and writing it down: a thread is
 * terminated at calls and at the ends of loops. So the table is true whoever dies.
 */
export const PIN = {
  LEAF: 0, //   what the page's leaf shows
  CACHED: 1, // what the page cache of its file has
  WORDS: 2,
} as const;

/** Bytes of the table for units that span so many pages. */
export function pinTableBytes(pages: number): number {
  return pages * PIN.WORDS * 4;
}
