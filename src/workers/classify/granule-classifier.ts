/**
 * Classifies the pages of one unit into runs. The loops over pages work on bare words: two-word
 * entries, plain loads, local constants, nothing allocated per page.
 */

import { FILE_KIND } from '../../mmu/files/file-record.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGE_STRUCT, PG } from '../../mmu/physical/page-struct.ts';
import { BANK_MASK, BANK_SHIFT, WORD_SHIFT } from '../../mmu/physical/physical-memory.ts';
import type { SwapArea } from '../../mmu/swap/swap-area.ts';
import {
  CONTENT,
  classOfRule,
  FILE_VIEW,
  isPresentLeaf,
  ruleOfNotPresent,
  ruleOfPresent,
} from '../../mmu/tables/classify.ts';
import type { WalkEnd } from '../../mmu/tables/page-table.ts';
import { pfnOf } from '../../mmu/tables/pte.ts';
import { countEmpty } from '../../mmu/tables/table-scan.ts';
import { VMA_KIND } from '../../mmu/vma/vma-table.ts';
import type { OwnedInterval, OwnerTable } from '../../shared/dump/owner-table.ts';
import { PAGE_CLASS, RULE } from '../../shared/dump/page-class.ts';
import { cloneWord, FILE_PAGES_BIT, unsupportedWord } from '../../shared/dump/run-table.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Donors } from './donors.ts';
import { hidesFilePage } from './hidden-pages.ts';
import type { Leaves } from './leaves.ts';
import { type PlainView, takePlainPages } from './plain-pages.ts';
import { NOTHING, type RunWriter } from './run-writer.ts';
import type { ZeroTest } from './zero-test.ts';

export interface ClassifyPolicy {
  /** Row 17: pages of zeros become ZERO. Otherwise row 14 becomes COPY as well. */
  readonly detectZero: boolean;
  readonly copyUnsupported: boolean;
  /** Flags of mappings of which nothing is stored. */
  readonly leftOut: number;
  /** By bank. */
  readonly zeroTests: readonly ZeroTest[];
}

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const { FLAGS, REFCOUNT, MAPPING, WORDS: PAGE_WORDS } = PAGE_STRUCT;
const { KSM } = PG;
const { COPY, ZERO, GUARD, UNSUPPORTED, ABSENT } = PAGE_CLASS;
const RULE_CONTENT = CONTENT;
const RULE_LOST_FILE = RULE.LOST_FILE_OWNER;
const PAGE_SHIFT = 12;
const LOW_BITS = GRANULE_PAGES - 1;
/** Not a class yet: the page belongs to a lost file, and its owner has to be found. */
const LOST_PAGE = -1;

/** The VMA around the pages that are being classified. */
interface VmaView {
  readonly slot: number;
  readonly file: number;
  readonly fileView: number;
  readonly isVdso: boolean;
  readonly isShared: boolean;
}

export class GranuleClassifier {
  readonly #mms: readonly Mm[];
  readonly #mm: Mm;
  readonly #ordinal: number;
  readonly #leaves: Leaves;
  readonly #owners: OwnerTable;
  readonly #donors: Donors | undefined;
  readonly #policy: ClassifyPolicy;
  readonly #out: RunWriter;
  readonly #pageWords: Int32Array;
  readonly #banks: readonly Int32Array[];
  readonly #frames: number;
  readonly #swap: SwapArea;
  /** How plain pages are told: in mappings that no earlier mm may share, and in the others. */
  readonly #ownPlain: PlainView;
  readonly #plain: PlainView;

  constructor(
    mms: readonly Mm[],
    ordinal: number,
    leaves: Leaves,
    owners: OwnerTable,
    donors: Donors | undefined,
    policy: ClassifyPolicy,
    out: RunWriter,
  ) {
    this.#mms = mms;
    this.#mm = mms[ordinal]!;
    this.#ordinal = ordinal;
    this.#leaves = leaves;
    this.#owners = owners;
    this.#donors = donors;
    this.#policy = policy;
    this.#out = out;
    this.#pageWords = this.#mm.pages.words;
    this.#banks = this.#mm.memory.words;
    this.#frames = this.#mm.memory.frames;
    this.#swap = this.#mm.machine.swap;
    const { detectZero } = policy;
    const view = {
      pageWords: this.#pageWords,
      frames: this.#frames,
      banks: this.#banks,
      detectZero,
      aheadFrom: 0,
      aheadTo: 0,
      touched: 0,
    };
    this.#ownPlain = { ...view, mayBeShared: false };
    this.#plain = { ...view, mayBeShared: ordinal > 0 && donors !== undefined };
  }

  /** Classifies `pages` pages from `start` on, whole granules. */
  classify(start: number, pages: number): void {
    const { vmas } = this.#mm;
    let ordinal = vmas.find(start);
    for (let granule = start; granule < start + pages; granule += GRANULE_PAGES) {
      const end = granule + GRANULE_PAGES;
      const found = this.#leaves.enter(granule);
      while (ordinal < vmas.count) {
        const slot = vmas.slot(ordinal);
        const vmaStart = vmas.start(slot);
        if (vmaStart >= end) break;
        const vmaEnd = vmas.end(slot);
        this.#classifyPart(slot, Math.max(granule, vmaStart), Math.min(end, vmaEnd), found);
        if (vmaEnd > end) break; // the rest of it lies in the next granule
        ordinal++;
      }
    }
  }

  /** The part [from, to) of one VMA that lies in the granule that was entered last. */
  #classifyPart(slot: number, from: number, to: number, found: WalkEnd): void {
    const { vmas } = this.#mm;
    const flags = vmas.flags(slot);
    if ((flags & this.#policy.leftOut) !== 0) return; // rows 1 and 2
    const file = vmas.file(slot);
    const vma: VmaView = {
      slot,
      file,
      fileView: this.#viewOf(file),
      isVdso: vmas.kind(slot) === VMA_KIND.VDSO,
      isShared: (flags & VM.MAYSHARE) !== 0,
    };
    if (found === 'bad') return; // row 3: the plan has listed it
    if (vma.fileView === FILE_VIEW.LOST) this.#classifyLostFile(vma, from, to, found);
    else if (found === 'table') this.#classifyTable(vma, from, to);
    else if (found === 'huge') this.#classifyHuge(vma, from, to);
    this.#out.end(to);
  }

  #viewOf(file: number): number {
    if (file === 0) return FILE_VIEW.NONE;
    const lost = this.#mm.files.kind(file) & (FILE_KIND.MEMORY | FILE_KIND.DELETED);
    return lost !== 0 ? FILE_VIEW.LOST : FILE_VIEW.LIVING;
  }

  /** The loop that most pages go through: 4 KiB leaves of an anonymous or living-file mapping. */
  #classifyTable(vma: VmaView, from: number, to: number): void {
    const { words } = this.#leaves;
    const out = this.#out;
    const pageWords = this.#pageWords;
    const frames = this.#frames;
    const { file, fileView, isVdso } = vma;
    const plain = vma.isShared ? this.#ownPlain : this.#plain;
    const first = this.#leaves.at + (from & LOW_BITS) * 2;
    for (let vpn = from; vpn < to; vpn++) {
      const at = first + (vpn - from) * 2;
      const empty = countEmpty(words, at, to - vpn);
      if (empty > 0) {
        out.page(vpn, NOTHING, 0);
        vpn += empty - 1;
        continue;
      }
      const taken = takePlainPages(plain, words, at, to - vpn, out.sources, out.sourceEnd);
      if (taken > 0) {
        out.copies(vpn, taken);
        vpn += taken - 1;
        continue;
      }
      const low = words[at]!;
      const high = words[at + 1]!;
      let pfn = pfnOf(low, high);
      let rule = NOTHING;
      if (isPresentLeaf(low) && pfn < frames) {
        const page = pfn * PAGE_WORDS;
        const flags = pageWords[page + FLAGS]!;
        rule = ruleOfPresent(low, flags, pageWords[page + MAPPING]!, file, fileView, isVdso);
      } else if (!isPresentLeaf(low)) {
        const slot = this.#swap.slotOf(low, high);
        rule = ruleOfNotPresent(low, high, slot);
        if (slot >= 0) pfn = this.#swap.frameOf(slot); // row 6: the slot's content
      }
      const word = rule === RULE_CONTENT ? this.#ownWord(vma, vpn, pfn) : this.#otherWord(rule);
      out.page(vpn, word, pfn);
    }
  }

  /** A 2 MiB leaf: 512 frames, each page decided by itself (row 4). */
  #classifyHuge(vma: VmaView, from: number, to: number): void {
    const { words, at } = this.#leaves;
    const low = words[at]!;
    const high = words[at + 1]!;
    const first = pfnOf(low, high) + (from & LOW_BITS);
    for (let vpn = from; vpn < to; vpn++) {
      const pfn = first + (vpn - from);
      this.#out.page(vpn, this.#leafWord(vma, vpn, low, high, pfn, -1), pfn);
    }
  }

  /** Row 12: pages of a memory-backed or deleted file, mapped or only cached, stored by owners. */
  #classifyLostFile(vma: VmaView, from: number, to: number, found: WalkEnd): void {
    const { words, at } = this.#leaves;
    const stride = found === 'table' ? 2 : 0;
    const isMapped = found === 'table' || found === 'huge';
    for (let vpn = from; vpn < to; vpn++) {
      const page = vpn & LOW_BITS;
      const low = isMapped ? words[at + page * stride]! : 0;
      const high = isMapped ? words[at + page * stride + 1]! : 0;
      let pfn = pfnOf(low, high) + (found === 'huge' ? page : 0);
      const slot = low === 0 || isPresentLeaf(low) ? -1 : this.#swap.slotOf(low, high);
      if (slot >= 0) pfn = this.#swap.frameOf(slot);
      let word = low === 0 ? LOST_PAGE : this.#leafWord(vma, vpn, low, high, pfn, slot);
      if (word === LOST_PAGE) {
        pfn = this.#ownedFrame(vma, vpn);
        // Running, a private mapping keeps what it shows for itself: see dump/owners.ts.
        const isOwn = vma.isShared || this.#donors === undefined;
        const bits = isOwn ? 0 : FILE_PAGES_BIT;
        word = pfn === 0 ? NOTHING : this.#contentWord(pfn) | bits;
      } else if (vma.isShared && (word === COPY || word === ZERO)) {
        // What a shared mapping stores is the file's page; this one is not, and no policy can say so.
        word = unsupportedWord(RULE.OTHER_MAPPING);
      }
      this.#out.page(vpn, word, pfn);
    }
  }

  /** Class word for a leaf that is not zero, or LOST_PAGE; `slot` is that of a swap entry, or -1. */
  #leafWord(
    vma: VmaView,
    vpn: number,
    low: number,
    high: number,
    pfn: number,
    slot: number,
  ): number {
    let rule = NOTHING;
    if (!isPresentLeaf(low)) {
      rule = ruleOfNotPresent(low, high, slot);
    } else if (pfn < this.#frames) {
      const page = pfn * PAGE_WORDS;
      const flags = this.#pageWords[page + FLAGS]!;
      const mapping = this.#pageWords[page + MAPPING]!;
      rule = ruleOfPresent(low, flags, mapping, vma.file, vma.fileView, vma.isVdso);
    }
    if (rule === RULE_LOST_FILE) return LOST_PAGE;
    return rule === RULE_CONTENT ? this.#ownWord(vma, vpn, pfn) : this.#otherWord(rule);
  }

  /** Rows 17 to 19, for an anonymous page or a swap slot. */
  #ownWord(vma: VmaView, vpn: number, pfn: number): number {
    const word = this.#contentWord(pfn);
    const donors = this.#donors;
    if (word !== COPY || this.#ordinal === 0 || donors === undefined) return word;
    if (vma.isShared || this.#isAlone(pfn)) return word;
    const donor = donors.find(this.#ordinal, vpn, pfn);
    return donor < 0 ? COPY : cloneWord(donor);
  }

  /** Nobody else shows this frame or slot, or whoever does has equal bytes by chance (KSM). */
  #isAlone(pfn: number): boolean {
    if (pfn >= this.#frames) return this.#swap.references(pfn - this.#swap.base) < 2;
    const page = pfn * PAGE_WORDS;
    return this.#pageWords[page + REFCOUNT]! < 2 || (this.#pageWords[page + FLAGS]! & KSM) !== 0;
  }

  /** Rows 17 and 19. */
  #contentWord(pfn: number): number {
    if (!this.#policy.detectZero) return COPY;
    const at = pfn & BANK_MASK;
    if (this.#banks[pfn >>> BANK_SHIFT]![at << WORD_SHIFT] !== 0) return COPY; // most pages
    return this.#policy.zeroTests[pfn >>> BANK_SHIFT]!(at << PAGE_SHIFT) ? ZERO : COPY;
  }

  /** Class word for a leaf without ordinary content; rule NOTHING: it is beyond physical memory. */
  #otherWord(rule: number): number {
    // There is nothing that a policy could copy.
    if (rule === NOTHING) return unsupportedWord(RULE.NO_FRAME);
    switch (classOfRule(rule)) {
      case COPY:
        return COPY;
      case ZERO:
        return this.#policy.detectZero ? ZERO : COPY;
      case GUARD:
        return GUARD;
      case UNSUPPORTED:
        return this.#policy.copyUnsupported && rule !== RULE.BAD_SWAP
          ? COPY
          : unsupportedWord(rule);
      default:
        return ABSENT;
    }
  }

  /** Frame of a lost file's page if this mapping is to store it, else 0. */
  #ownedFrame(vma: VmaView, vpn: number): number {
    const owned = this.#owners.find(this.#ordinal, vpn);
    if (owned === undefined) return 0;
    const index = this.#mm.vmas.fileIndex(vma.slot, vpn);
    const pfn = this.#leaves.cached(vma.file, index, vpn);
    return pfn !== 0 && this.#isHiddenByRivals(owned, index) ? pfn : 0;
  }

  /** Whether every rival that covers the file's page hides it behind a page of its own. */
  #isHiddenByRivals(owned: OwnedInterval, index: number): boolean {
    for (let number = 0; number < owned.rivals; number++) {
      const rival = this.#owners.rival(owned.rival + number);
      if (index < rival.pgoff || index >= rival.pgoff + rival.pages) continue;
      if (!hidesFilePage(this.#mms[rival.mm]!, rival.start + (index - rival.pgoff))) return false;
    }
    return true;
  }
}
