/** `mmdump inspect --find` searches as `mmdump search` does, in the mappings that are chosen. */
import { createDumper } from '../dumper.ts';
import type { Image } from '../image/image.ts';
import type { Match, SearchResult } from '../search/search.ts';
import { chosenMms, type InspectFilters } from './inspect-filters.ts';
import { patternOf } from './search-pattern.ts';
import { workersOption } from './workers-option.ts';

/** Most matches that are listed. */
const MATCHES_MAX = 10_000;

/**
 * The matches in the mappings that the options choose. With `--vma` each mapping is searched by
 * itself, so no match crosses from one into the next.
 */
export async function findIn(
  image: Image,
  text: string,
  filters: InspectFilters,
  signal: AbortSignal,
): Promise<SearchResult> {
  const pattern = patternOf(text);
  const { mm, prot, kind, class: classes } = filters;
  const options = { mm, prot, kind, class: classes, signal };
  const dumper = await createDumper(workersOption(undefined, image.bytes));
  try {
    if (filters.vma === undefined && filters.page === undefined) {
      return await dumper.search(image, pattern, options);
    }
    const matches: Match[] = [];
    let [count, bytes] = [0, 0];
    for (const chosen of chosenMms(image, filters)) {
      for (const { start, end } of chosen.vmas) {
        const maxMatches = MATCHES_MAX - matches.length;
        const part = { ...options, mm: chosen.mm.ordinal, start, end, maxMatches };
        const found = await dumper.search(image, pattern, part);
        matches.push(...found.matches);
        count += found.count;
        bytes += found.bytes;
      }
    }
    return { matches, count, bytes };
  } finally {
    await dumper.close();
  }
}
