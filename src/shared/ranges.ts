/**
 * Sorted lists of disjoint ranges [from, to). Owners of file pages are computed with them, and file
 * pages that remain to be read.
 */

/** The positions from `from` up to, but not including, `to`. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Ranges in ascending order that do not overlap. */
export type Ranges = Range[];

/**
 * Index of the first range that ends after `position`, by bisection. The ranges are ascending and
 * disjoint.
 */
export function firstAfter(ranges: readonly Range[], position: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle]!.to > position) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether any of the ranges overlaps [from, to). */
export function intersects(ranges: Ranges, from: number, to: number): boolean {
  const range = ranges[firstAfter(ranges, from)];
  return range !== undefined && range.from < to;
}

/** The parts of [from, to) that lie in none of the ranges. */
export function subtract(from: number, to: number, ranges: Ranges): Ranges {
  const parts: Ranges = [];
  let next = from;
  for (let index = firstAfter(ranges, from); index < ranges.length; index++) {
    const range = ranges[index]!;
    if (range.from >= to) break;
    if (range.from > next) parts.push({ from: next, to: range.from });
    next = Math.max(next, range.to);
  }
  if (next < to) parts.push({ from: next, to });
  return parts;
}

/** The parts of [from, to) that lie in the ranges. */
export function intersection(from: number, to: number, ranges: Ranges): Ranges {
  const parts: Ranges = [];
  for (let index = firstAfter(ranges, from); index < ranges.length; index++) {
    const range = ranges[index]!;
    if (range.from >= to) break;
    parts.push({ from: Math.max(from, range.from), to: Math.min(to, range.to) });
  }
  return parts;
}

/** Adds [from, to) to the list, and joins it with ranges that overlap or touch it. */
export function addRange(ranges: Ranges, from: number, to: number): void {
  let index = firstAfter(ranges, from);
  const before = ranges[index - 1];
  if (before !== undefined && before.to === from) index--;
  let last = index;
  let joined = { from, to };
  for (; last < ranges.length && ranges[last]!.from <= to; last++) {
    const range = ranges[last]!;
    joined = { from: Math.min(joined.from, range.from), to: Math.max(joined.to, range.to) };
  }
  ranges.splice(index, last - index, joined);
}

/** The number of positions in all ranges. */
export function sizeOf(ranges: Ranges): number {
  return ranges.reduce((sum, { from, to }) => sum + (to - from), 0);
}
