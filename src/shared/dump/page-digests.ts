/**
 * The XXH3-64 digests of the pages that an image stores or has in its parent, by mm and address. A
 * dump compares its own pages with them, to find those that have not changed since the image was
 * made. The table takes 8 bytes per page of its ranges, which are whole granules:
 *
 *   RANGES   start, pages, first   of each range, ascending by mm and page
 *   DIGESTS  … low, high …         of page `start + n`: words 2 * (first + n) and the next one
 *
 * Both halves are 0 where the image neither stores the page nor has it in its parent.
 */

const RANGE_WORDS = 3;

/** The table as a message. It is immutable once it is complete. */
export interface PageDigestBuffers {
  /** Three float64 per range: first page, pages, and the number of the digest of the first page. */
  readonly ranges: SharedArrayBuffer;
  /** Number of the first range of each mm, and one more element: the number of ranges. */
  readonly firstRanges: readonly number[];
  /** Two words per page. */
  readonly digests: SharedArrayBuffer;
}

/** A range of pages of an mm, whole granules, with the number of its first digest. */
export interface DigestRange {
  readonly start: number;
  readonly pages: number;
  readonly first: number;
}

/** Bytes of the digests of `pages` pages. */
export function pageDigestBytes(pages: number): number {
  return pages * 8;
}

/** Describes a table: `ranges` has the ranges of each mm. */
export function describePageDigests(
  ranges: readonly (readonly DigestRange[])[],
  digests: SharedArrayBuffer,
): PageDigestBuffers {
  const all = ranges.flat();
  const buffer = new SharedArrayBuffer(all.length * RANGE_WORDS * 8);
  const words = new Float64Array(buffer);
  all.forEach(({ start, pages, first }, index) => {
    words.set([start, pages, first], index * RANGE_WORDS);
  });
  const firstRanges = [0];
  for (const ofMm of ranges) firstRanges.push(firstRanges.at(-1)! + ofMm.length);
  return { ranges: buffer, firstRanges, digests };
}

/** The table, over shared memory. */
export class PageDigestTable {
  /** Two words per page: the low and the high half of its digest. */
  readonly words: Int32Array;
  readonly #ranges: Float64Array;
  readonly #firstRanges: readonly number[];

  constructor({ ranges, firstRanges, digests }: PageDigestBuffers) {
    this.words = new Int32Array(digests);
    this.#ranges = new Float64Array(ranges);
    this.#firstRanges = firstRanges;
  }

  /** The number of the digest of page `vpn`, or -1 if the page lies in no range of the mm. */
  numberOf(mm: number, vpn: number): number {
    const ranges = this.#ranges;
    let low = this.#firstRanges[mm] ?? 0;
    let high = this.#firstRanges[mm + 1] ?? 0;
    const end = high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = middle * RANGE_WORDS;
      if (ranges[at]! + ranges[at + 1]! > vpn) high = middle;
      else low = middle + 1;
    }
    const start = ranges[low * RANGE_WORDS];
    if (low === end || start === undefined || start > vpn) return -1;
    return ranges[low * RANGE_WORDS + 2]! + (vpn - start);
  }
}
