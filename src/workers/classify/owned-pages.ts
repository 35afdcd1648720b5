/** Pages of unreachable files that one mm has to store, since one of its mappings owns them. */
import type { Mm } from '../../mmu/mm/mm.ts';
import type { OwnedInterval, OwnerTable } from '../../shared/dump/owner-table.ts';
import { hidesFilePage } from './hidden-pages.ts';
import type { Leaves } from './leaves.ts';
import type { VmaView } from './vma-view.ts';

export class OwnedPages {
  readonly #mms: readonly Mm[];
  readonly #mm: Mm;
  readonly #ordinal: number;
  readonly #leaves: Leaves;
  readonly #owners: OwnerTable;

  constructor(mms: readonly Mm[], ordinal: number, leaves: Leaves, owners: OwnerTable) {
    this.#mms = mms;
    this.#mm = mms[ordinal]!;
    this.#ordinal = ordinal;
    this.#leaves = leaves;
    this.#owners = owners;
  }

  /** Frame of an unreachable file's page if this VMA has to store it, else 0. */
  frame(vma: VmaView, vpn: number): number {
    const owned = this.#owners.find(this.#ordinal, vpn);
    if (owned === undefined) return 0;
    const index = this.#mm.vmas.fileIndex(vma.slot, vpn);
    const pfn = this.#leaves.cached(vma.file, index, vpn);
    return pfn !== 0 && this.#isHiddenByRivals(owned, index) ? pfn : 0;
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
