/**
 * Row 18: finds out whether an earlier mm of the dump stores the same frame, or the same swap slot,
 * at the same address. A frame that still has the bytes of a backing's page counts as that page. The
 * page tables of that mm are walked once per granule. After the walk, each
 * page costs one look at one entry.
 *
 * A clone is an anonymous page, and its donor shows the same frame. Page struct and bytes are the
 * same on both sides, and so is the class that they lead to. The donor's page is therefore COPY,
 * unless its leaf is special or its VMA is shared or left out. The first donor in the order of mms
 * has no donor itself, so there are no chains.
 */

import type { Mm } from '../../mmu/mm/mm.ts';
import { PageCursor, walk } from '../../mmu/tables/page-table.ts';
import { isBacked, isPresent, PTE, pfnOf } from '../../mmu/tables/pte.ts';
import { GRANULE_PAGES, granuleStart } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { identityOf, identityOfFrame } from './backed-pages.ts';

const { SPECIAL } = PTE;
const LOW_BITS = GRANULE_PAGES - 1;

/** The pages of one earlier mm. Remembers the granule and the VMA that were looked at last. */
class DonorView {
  readonly #mm: Mm;
  /** VM_* flags: a VMA with any of them is no donor. */
  readonly #givesNothing: number;
  readonly #cursor = new PageCursor();
  /** First page of the granule at which the cursor stands, or -1. */
  #granule = -1;
  #hasLeaves = false;
  /** Words from one entry of the granule to the next: 2, or 0 for a huge leaf, its only entry. */
  #stride = 0;
  /** Pages [from, to) belong to one VMA, and #gives says whether it can be a donor. */
  #from = 0;
  #to = 0;
  #gives = false;

  constructor(mm: Mm, givesNothing: number) {
    this.#mm = mm;
    this.#givesNothing = givesNothing;
  }

  /** Whether this mm itself stores page `vpn`, and shows frame or swap slot `pfn` there. */
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

  /**
   * The frame or swap slot behind page `page` of the granule, the identity of its backed page, or
   * -1 if there is no normal page.
   */
  #shown(page: number): number {
    const { words } = this.#cursor;
    const at = this.#cursor.at + page * this.#stride;
    const low = words[at]!;
    if (low === 0) return -1;
    const high = words[at + 1]!;
    if (isBacked(low)) return identityOf(low, high);
    if (!isPresent(low)) {
      const { swap } = this.#mm.machine;
      const slot = swap.slotOf(low, high);
      return slot < 0 ? -1 : swap.frameOf(slot);
    }
    if ((low & SPECIAL) !== 0) return -1;
    const pfn = pfnOf(low, high) + (this.#stride === 0 ? page : 0);
    // A frame beyond memory would look like a swap slot.
    return pfn < this.#mm.memory.frames ? identityOfFrame(this.#mm.pages, pfn) : -1;
  }

  /** Whether the VMA around the page is private and not left out. */
  #isGiving(vpn: number): boolean {
    if (vpn >= this.#from && vpn < this.#to) return this.#gives;
    const { vmas } = this.#mm;
    const slot = vmas.lookup(vpn);
    if (slot < 0) return false; // an entry outside every VMA: it was written by hand
    this.#from = vmas.start(slot);
    this.#to = vmas.end(slot);
    this.#gives = (vmas.flags(slot) & this.#givesNothing) === 0;
    return this.#gives;
  }
}

/** Finds the donors of clones. Every worker has one object of its own. */
export class Donors {
  readonly #mms: readonly Mm[];
  readonly #givesNothing: number;
  readonly #views: DonorView[] = [];

  /** `leftOut`: VM_* flags; pages of a VMA with any of them are not stored. */
  constructor(mms: readonly Mm[], leftOut: number) {
    this.#mms = mms;
    this.#givesNothing = VM.MAYSHARE | leftOut;
  }

  /** The first mm before `ordinal` that stores at page `vpn` what `pfn` says, or -1. */
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
