/** Pages of unreachable files that one mm has to store, since one of its mappings owns them. */
import type { FilePlaces } from '../../mmu/files/file-places.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import type { WalkEnd } from '../../mmu/tables/page-table.ts';
import { countEmpty } from '../../mmu/tables/table-scan.ts';
import type { OwnedInterval, OwnerTable } from '../../shared/dump/owner-table.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import type { BackedPages } from './backed-pages.ts';
import { hidesFilePage } from './hidden-pages.ts';
import type { Leaves } from './leaves.ts';
import type { VmaView } from './vma-view.ts';

export class OwnedPages {
  readonly #mms: readonly Mm[];
  readonly #mm: Mm;
  readonly #ordinal: number;
  readonly #leaves: Leaves;
  readonly #owners: OwnerTable;
  /** Undefined if no page of the machine lies in a backing. */
  readonly #backed: BackedPages | undefined;
  /** The file that was looked at last, and where its pages lie. The mms of the dump keep it. */
  #file = 0;
  #places: FilePlaces | undefined;

  constructor(
    mms: readonly Mm[],
    ordinal: number,
    leaves: Leaves,
    owners: OwnerTable,
    backed: BackedPages | undefined,
  ) {
    this.#mms = mms;
    this.#mm = mms[ordinal]!;
    this.#ordinal = ordinal;
    this.#leaves = leaves;
    this.#owners = owners;
    this.#backed = backed;
  }

  /**
   * The number of an unreachable file's page if this VMA has to store it, else 0: that of its frame,
   * or of a page in the buffer of BackedPages. No leaf shows another page at `vpn`. `found` is what
   * the granule has, and the VMA goes on to page `to`, or to the end of the granule.
   */
  number(vma: VmaView, vpn: number, found: WalkEnd, to: number): number {
    const owned = this.#owners.find(this.#ordinal, vpn);
    if (owned === undefined) return 0;
    const index = this.#mm.vmas.fileIndex(vma.slot, vpn);
    const pfn = this.#leaves.cached(vma.file, index, vpn);
    const run = pfn === 0 ? this.#runOf(vma.file, index) : -1;
    if (pfn === 0 && run < 0) return 0;
    if (!this.#isHiddenByRivals(owned, index)) return 0;
    return pfn === 0 ? this.#load(vpn, index, run, found, to) : pfn;
  }

  /** The run of the file's places that has page `index`, or -1. */
  #runOf(file: number, index: number): number {
    if (this.#backed === undefined) return -1;
    if (file !== this.#file) {
      this.#places = this.#mm.files.places(file);
      this.#file = file;
    }
    return this.#places === undefined ? -1 : this.#places.find(index);
  }

  /** Loads the page and its neighbours in the backing, unless it is there already. */
  #load(vpn: number, index: number, run: number, found: WalkEnd, to: number): number {
    const backed = this.#backed!;
    if (!backed.isLoaded(vpn)) {
      const places = this.#places!;
      const left = places.index(run) + places.pages(run) - index;
      const pages = Math.min(left, found === 'table' ? this.#free(vpn, to) : to - vpn);
      const place = places.place(run, index);
      backed.loadFile(this.#ordinal, vpn, places.backing(run), place, pages);
    }
    return backed.numberOf(vpn);
  }

  /** Number of pages from `vpn` on, at least 1, that have no leaf in the table of the granule. */
  #free(vpn: number, to: number): number {
    const { words, at } = this.#leaves;
    return Math.max(1, countEmpty(words, at + (vpn % GRANULE_PAGES) * 2, to - vpn));
  }

  /** Whether all rivals that cover page `index` of the file hide it behind something else. */
  #isHiddenByRivals(owned: OwnedInterval, index: number): boolean {
    for (let number = 0; number < owned.rivals; number++) {
      const rival = this.#owners.rival(owned.rival + number);
      if (index < rival.pgoff || index >= rival.pgoff + rival.pages) continue;
      if (!hidesFilePage(this.#mms[rival.mm]!, rival.start + (index - rival.pgoff))) return false;
    }
    return true;
  }
}
