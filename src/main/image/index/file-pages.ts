/**
 * Where an image stores the pages of memory-backed and deleted files. A page of such a file is
 * stored once, in the mapping that owns it (docs/IMAGE_FORMAT.md, "Pages of files"), and read from
 * there through every other mapping of the file.
 *
 * The table is kept by granules of a file: 512 pages, so that a block reaches into two of them at
 * most, and one page is added or found in a bounded number of steps whatever the image says.
 */
import { GRANULE_PAGES } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { BLOCK, type Block } from './block-index.ts';
import type { ImageFile } from './image-mm.ts';
import { INDEX_COST, type IndexBudget } from './index-budget.ts';

/** Pages [from, to) of a file, as one mm stores them: page `index` at its page `index + shift`. */
interface Run {
  from: number;
  to: number;
  readonly mm: number; // ordinal
  readonly shift: number;
}

/** Where a page of a file is stored. */
export interface StoredAt {
  /** Ordinal of the mm. */
  readonly mm: number;
  /** Page of that mm. */
  readonly vpn: number;
}

/** The runs of one granule of one file, ascending and disjoint. */
type Granule = Run[];

export class FilePages {
  /** By file id, then by number of the granule. */
  readonly #files = new Map<number, Map<number, Granule>>();
  readonly #budget: IndexBudget;

  /** What the table takes of memory is taken from `budget` before. */
  constructor(budget: IndexBudget) {
    this.#budget = budget;
  }

  /**
   * Notes that the mm with this ordinal stores `pages` pages of a file, from page `index` of the
   * file on, at its own pages from `vpn` on. Returns undefined, or the first of these pages of the
   * file that is stored already: then those that follow it are not noted.
   */
  add(file: number, index: number, pages: number, mm: number, vpn: number): number | undefined {
    const end = index + pages;
    for (let from = index; from < end; ) {
      const number = Math.floor(from / GRANULE_PAGES);
      const to = Math.min(end, (number + 1) * GRANULE_PAGES);
      const twice = this.#addRun(file, number, { from, to, mm, shift: vpn - index });
      if (twice !== undefined) return twice;
      from = to;
    }
    return undefined;
  }

  /** Where page `index` of a file is stored, if it is. */
  find(file: number, index: number): StoredAt | undefined {
    const runs = this.#granule(file, index);
    const run = runs?.[firstEndingAfter(runs, index)];
    if (run === undefined || run.from > index) return undefined;
    return { mm: run.mm, vpn: index + run.shift };
  }

  /** For a page that is not stored: how many pages from it on are not, up to the granule's end. */
  gap(file: number, index: number): number {
    const runs = this.#granule(file, index);
    const end = (Math.floor(index / GRANULE_PAGES) + 1) * GRANULE_PAGES;
    return (runs?.[firstEndingAfter(runs, index)]?.from ?? end) - index;
  }

  #granule(file: number, index: number): Granule | undefined {
    return this.#files.get(file)?.get(Math.floor(index / GRANULE_PAGES));
  }

  #addRun(file: number, number: number, run: Run): number | undefined {
    const runs = this.#granuleFor(file, number);
    const at = firstEndingAfter(runs, run.from);
    const next = runs[at];
    if (next !== undefined && next.from < run.to) return Math.max(next.from, run.from);
    // Neighbours in one mapping are one run: blocks of one page each, or data beside zeros.
    const before = runs[at - 1];
    if (before?.to === run.from && before.mm === run.mm && before.shift === run.shift) {
      before.to = run.to;
      return undefined;
    }
    this.#budget.take(INDEX_COST.FILE_RUN);
    runs.splice(at, 0, run);
    return undefined;
  }

  #granuleFor(file: number, number: number): Granule {
    let granules = this.#files.get(file);
    if (granules === undefined) {
      granules = new Map();
      this.#files.set(file, granules);
    }
    let runs = granules.get(number);
    if (runs === undefined) {
      this.#budget.take(INDEX_COST.FILE_GRANULE);
      runs = [];
      granules.set(number, runs);
    }
    return runs;
  }
}

function firstEndingAfter(runs: readonly Run[], index: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runs[middle]!.to > index) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Whether only an image, or the memory of a machine, can supply the pages of this file. */
export function isUnreachable({ isDeleted, isMemoryBacked }: ImageFile): boolean {
  return isDeleted || isMemoryBacked;
}

/** Whether a block of a mapping of such a file holds the file's pages, not the mm's own. */
export function isOfFile(vma: { readonly flags: number }, block: Block): boolean {
  if (block.kind === BLOCK.GUARD) return false; // this mm may not look at the page, others may
  return (vma.flags & VM.MAYSHARE) !== 0 || block.isFilePages;
}
