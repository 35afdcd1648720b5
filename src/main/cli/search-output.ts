/** How the commands show what a search has found. */
import { hex } from '../../shared/page.ts';
import { printable } from '../../shared/printable.ts';
import { protLetters } from '../../shared/vm-flags.ts';
import type { Image } from '../image/image.ts';
import { findVma } from '../image/index/image-mm.ts';
import type { SearchResult } from '../search/search.ts';
import { nameOf } from './inspect-filters.ts';

/** At most this many matches are printed; the others are counted. */
const LINES_MAX = 100;

/** The object that `search --json` prints; its keys are a contract. */
export function searchJson({ count, bytes, matches }: SearchResult): unknown {
  return {
    count,
    bytes,
    matches: matches.map((each) => ({ ...each, address: hex(each.address) })),
  };
}

/** The matches, a line each, with their mappings. */
export function searchText(image: Image, { count, matches }: SearchResult): string {
  const lines = matches.slice(0, LINES_MAX).map(({ mm, address }) => {
    const vma = findVma(image.vmas({ mm }), address)!;
    const name = printable(nameOf(vma));
    const inMm = image.mms().length > 1 ? `mm ${mm}: ` : '';
    return `${inMm}${address.toString(16)} ${protLetters(vma.flags)} ${name}`;
  });
  const more = count - lines.length;
  return [...lines, more > 0 ? `${count} matches, ${more} more` : `${count} matches`].join('\n');
}
