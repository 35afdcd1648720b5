/**
 * Which pages of an mm may have changed since its parent image was made: ascending ranges that do
 * not touch. Pages outside of them are taken as unchanged without a look at their bytes. Pages
 * inside are compared all the same, because a page that was written may hold the bytes that it had
 * before. So the image does not depend on how the ranges were found, or on whether there are any.
 */

/** Two elements per range: its first page, and the first page after it. */
export type DirtyRanges = Float64Array;

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
