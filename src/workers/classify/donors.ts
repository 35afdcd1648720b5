/**
 * Row 18: whether an earlier mm of the dump stores the same frame, or the same swap slot, at the
 * same address. Its tables are walked once a granule; after that it is one look at an entry a page.
 *
 * A page of this kind is anonymous, and its frame is the donor's too, so what its page struct and
 * its bytes say leads to the same class on both sides: the donor's is COPY if its own leaf and
 * mapping do not keep it from being looked at. The first donor in the order of mms has no donor
 * itself, so there are no chains.
 */

import type { Mm } from '../../mmu/mm/mm.ts';
import { isPresentLeaf } from '../../mmu/tables/classify.ts';
import { PageCursor, walk } from '../../mmu/tables/page-table.ts';
import { PTE, pfnOf } from '../../mmu/tables/pte.ts';
import { GRANULE_PAGES, granuleStart } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';

const { SPECIAL } = PTE;
const LOW_BITS = GRANULE_PAGES - 1;

/** Where the dump looks at an earlier mm. */
class DonorView {
  readonly #mm: Mm;
  /** Mappings with one of these flags give nothing. */
  readonly #givesNothing: number;
  readonly #cursor = new PageCursor();
  /** The granule at which the cursor stands, and the words between its entries; 2, or 0: huge. */
  #granule = -1;
  #hasLeaves = false;
  #stride = 0;
  /** Pages [from, to) are known to lie in mappings that give, or in none that do. */
  #from = 0;
  #to = 0;
  #gives = false;

  constructor(mm: Mm, givesNothing: number) {
    this.#mm = mm;
    this.#givesNothing = givesNothing;
  }

  /** Whether this mm stores frame `pfn` (or the slot of that number) at page `vpn` as its own. */
  stores(vpn: number, pfn: number): boolean {
    const granule = granuleStart(vpn);
    if (granule !== this.#granule) this.#enter(granule);
    return this.#hasLeaves && this.#shown(vpn & LOW_BITS) === pfn && this.#isGiving(vpn);
  }

  #enter(granule: number): void {
    const found = walk(this.#mm, this.#mm.pgd, granule, this.#cursor);
    this.#granule = granule;
    this.#hasLeaves = found === 'table' || found === 'huge';
    this.#stride = found === 'table' ? 2 : 0;
  }

  /** Frame or slot behind page number `page` of the granule; -1: none, or no normal page. */
  #shown(page: number): number {
    const { words } = this.#cursor;
    const at = this.#cursor.at + page * this.#stride;
    const low = words[at]!;
    if (low === 0) return -1;
    const high = words[at + 1]!;
    if (!isPresentLeaf(low)) {
      const { swap } = this.#mm.machine;
      const slot = swap.slotOf(low, high);
      return slot < 0 ? -1 : swap.frameOf(slot);
    }
    if ((low & SPECIAL) !== 0) return -1;
    const pfn = pfnOf(low, high) + (this.#stride === 0 ? page : 0);
    return pfn < this.#mm.memory.frames ? pfn : -1; // beyond memory it would pass for a slot
  }

  /** Whether the mapping around the page is one whose pages are looked at, and private. */
  #isGiving(vpn: number): boolean {
    if (vpn >= this.#from && vpn < this.#to) return this.#gives;
    const { vmas } = this.#mm;
    const slot = vmas.lookup(vpn);
    if (slot < 0) return false; // an entry outside of every mapping: made by hand
    this.#from = vmas.start(slot);
    this.#to = vmas.end(slot);
    this.#gives = (vmas.flags(slot) & this.#givesNothing) === 0;
    return this.#gives;
  }
}

export class Donors {
  readonly #mms: readonly Mm[];
  readonly #givesNothing: number;
  readonly #views: DonorView[] = [];

  /** `leftOut`: flags of mappings of which nothing is stored. */
  constructor(mms: readonly Mm[], leftOut: number) {
    this.#mms = mms;
    this.#givesNothing = VM.MAYSHARE | leftOut;
  }

  /** The first mm before `ordinal` that stores frame or slot `pfn` at page `vpn`, or -1. */
  find(ordinal: number, vpn: number, pfn: number): number {
    for (let donor = 0; donor < ordinal; donor++) {
      if (this.#view(donor).stores(vpn, pfn)) return donor;
    }
    return -1;
  }

  #view(donor: number): DonorView {
    while (this.#views.length <= donor) {
      this.#views.push(new DonorView(this.#mms[this.#views.length]!, this.#givesNothing));
    }
    return this.#views[donor]!;
  }
}
