/**
 * Which pages of an mm may have changed since its parent image was made: ascending ranges that do
 * not touch. Pages outside of them are taken as unchanged without a look at their bytes. Pages
 * inside are compared all the same, because a page that was written may hold the bytes that it had
 * before. So the image does not depend on how the ranges were found, or on whether there are any.
 */

/** Two elements per range: its first page, and the first page after it. */
export type DirtyRanges = Float64Array;

/** The pages of both. */
export function joinRanges(a: DirtyRanges, b: DirtyRanges): DirtyRanges {
  const pages: number[] = [];
  for (let atA = 0, atB = 0; atA < a.length || atB < b.length; ) {
    const isOfA = atB === b.length || (atA < a.length && a[atA]! <= b[atB]!);
    const start = isOfA ? a[atA]! : b[atB]!;
    const end = isOfA ? a[atA + 1]! : b[atB + 1]!;
    if (isOfA) atA += 2;
    else atB += 2;
    const last = pages.length - 1;
    if (last > 0 && start <= pages[last]!) pages[last] = Math.max(pages[last]!, end);
    else pages.push(start, end);
  }
  return Float64Array.from(pages);
}

/**
 * Index of the first range that ends after page `vpn`, counted in ranges; `ranges.length / 2` if
 * there is none.
 */
export function firstRangeFrom(ranges: DirtyRanges, vpn: number): number {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle * 2 + 1]! > vpn) high = middle;
    else low = middle + 1;
  }
  return low;
}
