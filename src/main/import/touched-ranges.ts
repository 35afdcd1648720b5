/**
 * Which parts of a large mapping are worth reading in the page map. That has 8 bytes for every page,
 * touched or not; a terabyte of it takes more than a second.
 */
import { scanPagemap } from '../../shared/native/pagemap-scan.ts';
import { GiB, PAGE_SIZE } from '../../shared/page.ts';
import type { Range, Ranges } from '../../shared/ranges.ts';
import type { Yielder } from '../job/stop.ts';
import type { SmapsVma } from './smaps.ts';

/** Smaller page maps are read before anything could be saved. */
const LARGE = 16 * GiB;
/** A mapping of which more than this share is in memory is read as a whole. */
const DENSE_SHARE = 1 / 8;
/** Ranges with fewer pages between them are read as one: 32 KiB of page map. */
const GAP_PAGES = 4096;
/** If there is more than one range per so many pages, reading all is quicker than reading each. */
const PAGES_PER_RANGE = 0x4000;
/** The same of regions, before those that are near to each other become one range. */
const PAGES_PER_REGION = 0x1000;

/**
 * The pages of a mapping, as ranges that hold every page with an entry. undefined where it has to be
 * read as a whole: it is small, or dense, or has too many ranges, or the kernel cannot tell.
 */
export async function touchedRanges(
  pagemap: number,
  vma: Pick<SmapsVma, 'start' | 'end' | 'totals'>,
  yielder: Yielder,
): Promise<Ranges | undefined> {
  const { start, end, totals } = vma; // addresses
  if (end - start < LARGE) return undefined;
  const inMemory = ((totals.rss ?? 0) + (totals.swap ?? 0)) * 1024;
  if (inMemory > (end - start) * DENSE_SHARE) return undefined;
  const pages = (end - start) / PAGE_SIZE;
  let regions = 0;
  let reached = 0; // page
  const ranges: { from: number; to: number }[] = [];
  for (let from = start; from < end; ) {
    const found = scanPagemap(pagemap, from, end);
    if (found === undefined || found.end <= from) return undefined;
    const { bounds } = found;
    for (let at = 0; at < bounds.length; at += 2) {
      const to = bounds[at + 1]! / PAGE_SIZE;
      // Of more than 512 regions the kernel finds the last ones again: its `end` is not far enough.
      if (to <= reached) continue;
      addNear(ranges, Math.max(bounds[at]! / PAGE_SIZE, reached), to);
      reached = to;
      regions++;
    }
    if (regions > pages / PAGES_PER_REGION) return undefined;
    if (ranges.length > pages / PAGES_PER_RANGE) return undefined;
    from = found.end;
    if (yielder.isDue()) await yielder.yield();
  }
  return ranges;
}

/** Adds a range behind the others, or to the last one if that is near. */
function addNear(ranges: { from: number; to: number }[], from: number, to: number): void {
  const last: Range | undefined = ranges.at(-1);
  if (last === undefined || from - last.to > GAP_PAGES) ranges.push({ from, to });
  else ranges[ranges.length - 1]!.to = to;
}
