/**
 * Where an image stores the pages of unreachable files. A page of such a file is stored once, in
 * the mapping that owns it (docs/IMAGE_FORMAT.md, "Pages of files"), and every other mapping of the
 * file reads it from there.
 *
 * The table has an entry per granule of a file, which is 512 pages. A block reaches into at most
 * two granules, so a block is added and a page is found in a bounded number of steps, whatever the
 * image says.
 */
import { GRANULE_PAGES } from '../../../shared/page.ts';
import { firstAfter } from '../../../shared/ranges.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { BLOCK, type Block } from './block-index.ts';
import type { ImageFile } from './image-mm.ts';
import { INDEX_COST, type IndexBudget } from './index-budget.ts';

/** Pages [from, to) of a file that one mm stores, page `index` of it at vpn `index + shift`. */
interface Run {
  from: number;
  to: number;
  readonly mm: number; // ordinal
  readonly shift: number;
}

/** The place where a page of a file is stored. */
export interface StoredAt {
  /** Ordinal of the mm that stores it. */
  readonly mm: number;
  /** Virtual page number in that mm. */
  readonly vpn: number;
}

/** The runs of one granule of one file, ascending and disjoint. */
type Granule = Run[];

export class FilePages {
  /** Granules by the id of the file and the number of the granule. */
  readonly #files = new Map<number, Map<number, Granule>>();
  readonly #budget: IndexBudget;

  /** The memory of the table is taken from `budget` before it is allocated. */
  constructor(budget: IndexBudget) {
    this.#budget = budget;
  }

  /**
   * Notes that mm number `mm` stores `pages` pages of a file, from page `index` of the file on, at
   * virtual pages from `vpn` on. If some of these pages are stored already, it returns the first of
   * them, and notes nothing from the beginning of that page's granule on.
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

  /** The place where page `index` of a file is stored; undefined if it is not. */
  find(file: number, index: number): StoredAt | undefined {
    const runs = this.#granule(file, index);
    const run = runs?.[firstAfter(runs, index)];
    if (run === undefined || run.from > index) return undefined;
    return { mm: run.mm, vpn: index + run.shift };
  }

  /**
   * How many pages from page `index` on are not stored, up to the end of the granule.
   *
   * Preconditions: page `index` is not stored.
   */
  gap(file: number, index: number): number {
    const runs = this.#granule(file, index);
    const end = (Math.floor(index / GRANULE_PAGES) + 1) * GRANULE_PAGES;
    return (runs?.[firstAfter(runs, index)]?.from ?? end) - index;
  }

  #granule(file: number, index: number): Granule | undefined {
    return this.#files.get(file)?.get(Math.floor(index / GRANULE_PAGES));
  }

  #addRun(file: number, number: number, run: Run): number | undefined {
    const runs = this.#granuleFor(file, number);
    const at = firstAfter(runs, run.from);
    const next = runs[at];
    if (next !== undefined && next.from < run.to) return Math.max(next.from, run.from);
    // Neighbours in one mapping become one run, such as blocks of one page, or data beside zeros.
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

/** Whether a file is unreachable: only an image, or the memory of a machine, supplies its pages. */
export function isUnreachable({ isDeleted, isMemoryBacked }: ImageFile): boolean {
  return isDeleted || isMemoryBacked;
}

/** Whether a block in a mapping of an unreachable file holds pages of the file, not of the mm. */
export function isOfFile(vma: { readonly flags: number }, block: Block): boolean {
  if (block.kind === BLOCK.GUARD) return false; // it hides the page from this mm only
  return (vma.flags & VM.MAYSHARE) !== 0 || block.isFilePages;
}
