/**
 * The units of a search in mms: granules that have page tables, or pages of a file in memory, and
 * the bytes before them at which a match may begin that reaches into them. The others are zeros, or
 * not known.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { SEARCH_UNIT } from '../../shared/dump/tasks/search-task.ts';
import { addressOf, GRANULE_SIZE, PAGE_SIZE } from '../../shared/page.ts';
import type { PlannedUnit } from '../dump/plan.ts';
import type { Yielder } from '../job/stop.ts';
import type { SearchRange } from './stretches.ts';

/** Pages of a unit behind its granule, at most: the rest of a match, and a page in part. */
export function pagesBehind(longest: number): number {
  return Math.ceil(longest / PAGE_SIZE) + 1;
}

/** The mappings of an mm that pass the filters, in bytes. Neighbours are joined. */
export function spaceRanges(
  { vmas }: Mm,
  flags: number,
  { start, end }: SearchRange,
): SearchRange[] {
  const ranges: { start: number; end: number }[] = [];
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    if ((vmas.flags(slot) & flags) !== flags) continue;
    const from = Math.max(start, addressOf(vmas.start(slot)));
    const to = Math.min(end, addressOf(vmas.end(slot)));
    if (from >= to) continue;
    const last = ranges.at(-1);
    if (last?.end === from) last.end = to;
    else ranges.push({ start: from, end: to });
  }
  return ranges;
}

/** Gathers the table of units. */
export class SpaceUnits {
  readonly #shortest: number;
  readonly #longest: number;
  readonly #words: number[] = [];
  #unitBytes = 0;
  #totalBytes = 0;
  /** The mm of the last unit, and the address after its last one. */
  #mm = -1;
  #next = -1;

  /** The fewest and the most bytes of a match. */
  constructor({ shortest, longest }: { readonly shortest: number; readonly longest: number }) {
    this.#shortest = shortest;
    this.#longest = longest;
  }

  get count(): number {
    return this.#words.length / SEARCH_UNIT.WORDS;
  }

  /** Bytes of the longest unit. */
  get unitBytes(): number {
    return this.#unitBytes;
  }

  /** Bytes at which a match may begin. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  get table(): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(Math.max(8, this.#words.length * 8));
    new Float64Array(buffer).set(this.#words);
    return buffer;
  }

  /** Adds what is planned of an mm and lies in the ranges. Both ascend. */
  async add(
    mm: number,
    planned: readonly PlannedUnit[],
    ranges: readonly SearchRange[],
    yielder: Yielder,
  ): Promise<void> {
    let first = 0; // of the planned units that may reach into the range
    for (const range of ranges) {
      while (first < planned.length && endOf(planned[first]!) <= range.start) first++;
      for (let at = first; at < planned.length; at++) {
        if (yielder.isDue()) await yielder.yield();
        const begin = addressOf(planned[at]!.start) - (this.#longest - 1);
        if (begin >= range.end) break;
        this.#addPart(mm, Math.max(begin, range.start), endOf(planned[at]!), range.end);
      }
    }
  }

  /** Adds addresses [from, to) of a range that ends at `end`, less those that are there. */
  #addPart(mm: number, from: number, to: number, end: number): void {
    const last = Math.min(to, end - this.#shortest + 1);
    for (let at = mm === this.#mm ? Math.max(from, this.#next) : from; at < last; ) {
      const next = Math.min(last, (Math.floor(at / GRANULE_SIZE) + 1) * GRANULE_SIZE);
      const starts = next - at;
      const bytes = Math.min(starts + this.#longest - 1, end - at);
      const continues = mm === this.#mm && at === this.#next ? 1 : 0;
      this.#words.push(0, 0, starts, bytes, mm, at, continues);
      this.#unitBytes = Math.max(this.#unitBytes, bytes);
      this.#totalBytes += starts;
      this.#mm = mm;
      this.#next = next;
      at = next;
    }
  }
}

function endOf({ start, pages }: PlannedUnit): number {
  return addressOf(start + pages);
}
