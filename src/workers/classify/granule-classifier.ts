/**
 * Classifies the pages of one unit into runs. The loops over pages work on bare words: an entry is
 * two words, loads are plain, constants are local, and nothing is allocated per page.
 */

import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGE_STRUCT } from '../../mmu/physical/page-struct.ts';
import type { PhysicalMemory } from '../../mmu/physical/physical-memory.ts';
import type { SwapArea } from '../../mmu/swap/swap-area.ts';
import { CONTENT, FILE_VIEW, ruleOfNotPresent, ruleOfPresent } from '../../mmu/tables/classify.ts';
import type { WalkEnd } from '../../mmu/tables/page-table.ts';
import { isBacked, isPresent, pfnOf } from '../../mmu/tables/pte.ts';
import { countEmpty } from '../../mmu/tables/table-scan.ts';
import type { OwnerTable } from '../../shared/dump/owner-table.ts';
import { PAGE_CLASS, RULE } from '../../shared/dump/page-class.ts';
import { FILE_PAGES_BIT, unsupportedWord } from '../../shared/dump/run-table.ts';
import { GRANULE_PAGES, granuleStart } from '../../shared/page.ts';
import type { FerriedPages } from '../ferry/ferried-pages.ts';
import type { BackedPages } from './backed-pages.ts';
import { ClassWords, LOST_PAGE, type OtherPages } from './class-words.ts';
import type { ClassifyPolicy } from './classify-policy.ts';
import type { Donors } from './donors.ts';
import type { Leaves } from './leaves.ts';
import { OwnedPages } from './owned-pages.ts';
import { type PlainView, takePlainPages } from './plain-pages.ts';
import { NOTHING, type RunWriter } from './run-writer.ts';
import { type VmaView, viewVma } from './vma-view.ts';

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const { FLAGS, MAPPING, WORDS: PAGE_WORDS } = PAGE_STRUCT;
const { COPY, ZERO } = PAGE_CLASS;
const RULE_CONTENT = CONTENT;
const RULE_UNREACHABLE_FILE = RULE.UNREACHABLE_FILE_OWNER;
const NO_ENTRY = RULE.NO_ENTRY;
const LOW_BITS = GRANULE_PAGES - 1;

/** Classifies units of one mm. */
export class GranuleClassifier {
  readonly #mm: Mm;
  readonly #ordinal: number;
  readonly #leaves: Leaves;
  readonly #owned: OwnedPages;
  readonly #donors: Donors | undefined;
  readonly #policy: ClassifyPolicy;
  readonly #out: RunWriter;
  readonly #pageWords: Int32Array;
  readonly #frames: number;
  readonly #memory: PhysicalMemory;
  readonly #swap: SwapArea;
  /** Undefined if no page of the machine lies in a backing. */
  readonly #backed: BackedPages | undefined;
  /** Undefined if all memory of the machine is shared. */
  readonly #ferried: FerriedPages | undefined;
  /** Whether unshared pages are fetched when their granule is entered. */
  readonly #fetches: boolean;
  /** For plain pages of shared VMAs, which are never clones. */
  readonly #ownPlain: PlainView;
  /** For plain pages of private VMAs, which may be clones. */
  readonly #plain: PlainView;
  /** Decides about single pages, and keeps the RULE that has decided last. */
  readonly #classWords: ClassWords;

  constructor(
    mms: readonly Mm[],
    ordinal: number,
    leaves: Leaves,
    owners: OwnerTable,
    donors: Donors | undefined,
    policy: ClassifyPolicy,
    out: RunWriter,
    bytes: OtherPages,
  ) {
    const { backed, ferried } = bytes;
    this.#backed = backed;
    this.#ferried = ferried;
    // On a frozen machine the pages of the unit are there already.
    this.#fetches = ferried !== undefined && policy.detectZero && donors === undefined;
    this.#mm = mms[ordinal]!;
    this.#ordinal = ordinal;
    this.#leaves = leaves;
    this.#owned = new OwnedPages(mms, ordinal, leaves, owners, backed);
    this.#donors = donors;
    this.#classWords = new ClassWords(this.#mm, ordinal, donors, policy, bytes);
    this.#policy = policy;
    this.#out = out;
    this.#pageWords = this.#mm.pages.words;
    this.#memory = this.#mm.memory;
    this.#frames = this.#memory.frames;
    this.#swap = this.#mm.machine.swap;
    const { detectZero } = policy;
    const view = {
      pageWords: this.#pageWords,
      frames: this.#memory.firstUnshared, // plain pages have bytes that this thread reaches
      banks: this.#memory.words,
      detectZero,
      aheadFrom: 0,
      aheadTo: 0,
      touched: 0,
    };
    this.#ownPlain = { ...view, mayBeShared: false };
    this.#plain = { ...view, mayBeShared: ordinal > 0 && donors !== undefined };
  }

  /**
   * Classifies page `vpn` alone and returns the RULE that has decided. The page becomes a run, unless
   * it is absent. Precondition: a VMA covers the page, and is not left out (rows 1 and 2).
   */
  explain(vpn: number): number {
    const found = this.#leaves.enter(granuleStart(vpn));
    this.#classWords.rule =
      found === 'bad' ? RULE.TABLE_BAD : found === 'none' ? RULE.NO_TABLE : NO_ENTRY;
    this.#classifyPart(this.#mm.vmas.lookup(vpn), vpn, vpn + 1, found);
    return this.#classWords.rule;
  }

  /** Classifies `pages` pages from page `start` on, which are whole granules. */
  classify(start: number, pages: number): void {
    const { vmas } = this.#mm;
    let ordinal = vmas.find(start);
    for (let granule = start; granule < start + pages; granule += GRANULE_PAGES) {
      const end = granule + GRANULE_PAGES;
      const found = this.#leaves.enter(granule);
      if (this.#fetches && found === 'table') {
        this.#ferried!.fetchLeaves(granule, this.#leaves.words, this.#leaves.at);
      }
      while (ordinal < vmas.count) {
        const slot = vmas.slot(ordinal);
        const vmaStart = vmas.start(slot);
        if (vmaStart >= end) break;
        const vmaEnd = vmas.end(slot);
        this.#classifyPart(slot, Math.max(granule, vmaStart), Math.min(end, vmaEnd), found);
        if (vmaEnd > end) break; // the rest of the VMA lies in the next granule
        ordinal++;
      }
    }
  }

  /** Classifies pages [from, to) of one VMA, which lie in the granule that was entered last. */
  #classifyPart(slot: number, from: number, to: number, found: WalkEnd): void {
    const { vmas } = this.#mm;
    const flags = vmas.flags(slot);
    if ((flags & this.#policy.leftOut) !== 0) return; // rows 1 and 2
    const vma = viewVma(this.#mm, slot, flags);
    if (found === 'bad') return; // row 3: the plan has listed the granule
    if (vma.fileView === FILE_VIEW.UNREACHABLE) this.#classifyUnreachableFile(vma, from, to, found);
    else if (found === 'table') this.#classifyTable(vma, from, to);
    else if (found === 'huge') this.#classifyHuge(vma, from, to);
    this.#out.end(to);
  }

  /**
   * Classifies pages behind 4 KiB leaves, in a VMA that is anonymous or maps a living file. Most
   * pages go through this loop.
   */
  #classifyTable(vma: VmaView, from: number, to: number): void {
    const { words } = this.#leaves;
    const out = this.#out;
    const classWords = this.#classWords;
    const pageWords = this.#pageWords;
    const frames = this.#frames;
    const { file, fileView, isVdso } = vma;
    const plain = vma.isShared ? this.#ownPlain : this.#plain;
    const first = this.#leaves.at + (from & LOW_BITS) * 2;
    for (let vpn = from; vpn < to; vpn++) {
      const at = first + (vpn - from) * 2;
      const empty = countEmpty(words, at, to - vpn);
      if (empty > 0) {
        classWords.rule = NO_ENTRY;
        out.page(vpn, NOTHING, 0);
        vpn += empty - 1;
        continue;
      }
      const taken = takePlainPages(plain, words, at, to - vpn, out.sources, out.sourceEnd);
      if (taken > 0) {
        classWords.rule = RULE_CONTENT;
        out.copies(vpn, taken);
        vpn += taken - 1;
        continue;
      }
      const low = words[at]!;
      const high = words[at + 1]!;
      if (isBacked(low)) {
        vpn += this.#classifyBacked(vma, vpn, words, at, to - vpn) - 1;
        continue;
      }
      let pfn = pfnOf(low, high);
      let rule = NOTHING;
      if (isPresent(low) && pfn < frames) {
        const page = pfn * PAGE_WORDS;
        const flags = pageWords[page + FLAGS]!;
        rule = ruleOfPresent(low, flags, pageWords[page + MAPPING]!, file, fileView, isVdso);
        if (flags === 0 && !this.#memory.has(pfn)) rule = NOTHING; // in a hole between two banks
      } else if (!isPresent(low)) {
        const slot = this.#swap.slotOf(low, high);
        rule = ruleOfNotPresent(low, high, slot);
        if (slot >= 0) pfn = this.#swap.frameOf(slot); // row 6: the content lies in the slot
      }
      const word = rule === RULE_CONTENT ? classWords.own(vma, vpn, pfn) : classWords.other(rule);
      out.page(vpn, word, pfn);
    }
  }

  /** Classifies pages behind a 2 MiB leaf. Each of its 512 frames is decided by itself (row 4). */
  #classifyHuge(vma: VmaView, from: number, to: number): void {
    const { words, at } = this.#leaves;
    const low = words[at]!;
    const high = words[at + 1]!;
    const first = pfnOf(low, high) + (from & LOW_BITS);
    for (let vpn = from; vpn < to; vpn++) {
      const pfn = first + (vpn - from);
      this.#out.page(vpn, this.#classWords.leaf(vma, vpn, low, high, pfn, -1), pfn);
    }
  }

  /**
   * Row 12: classifies pages of an unreachable file, which their owner stores, whether a leaf shows
   * them or only the page cache has them.
   */
  #classifyUnreachableFile(vma: VmaView, from: number, to: number, found: WalkEnd): void {
    const { words, at } = this.#leaves;
    const stride = found === 'table' ? 2 : 0;
    const isMapped = found === 'table' || found === 'huge';
    for (let vpn = from; vpn < to; vpn++) {
      const page = vpn & LOW_BITS;
      const low = isMapped ? words[at + page * stride]! : 0;
      const high = isMapped ? words[at + page * stride + 1]! : 0;
      let pfn = pfnOf(low, high) + (found === 'huge' ? page : 0);
      const slot = low === 0 || isPresent(low) ? -1 : this.#swap.slotOf(low, high);
      if (slot >= 0) pfn = this.#swap.frameOf(slot);
      else if (isBacked(low)) pfn = this.#load(vpn, words, at + page * stride, to - vpn);
      let word = low === 0 ? LOST_PAGE : this.#classWords.leaf(vma, vpn, low, high, pfn, slot);
      if (word === LOST_PAGE) {
        pfn = this.#owned.number(vma, vpn, found, to);
        // On a running machine a private VMA stores what it shows as its own: see dump/owners.ts.
        const isOwn = vma.isShared || this.#donors === undefined;
        const bits = isOwn ? 0 : FILE_PAGES_BIT;
        const rule = pfn === 0 && low === 0 ? this.#ruleOfHole(found) : RULE_UNREACHABLE_FILE;
        word = pfn === 0 ? NOTHING : this.#classWords.content(vpn, pfn) | bits;
        this.#classWords.rule = rule;
      } else if (vma.isShared && (word === COPY || word === ZERO)) {
        // What a shared VMA stores is read as the file's page. This is another page, and no policy
        // can make the image say so.
        word = unsupportedWord(RULE.OTHER_MAPPING);
        this.#classWords.rule = RULE.OTHER_MAPPING;
      }
      this.#out.page(vpn, word, pfn);
    }
  }

  /** The rule of a page that no leaf shows: row 3 or 5. */
  #ruleOfHole(found: WalkEnd): number {
    return found === 'none' ? RULE.NO_TABLE : NO_ENTRY;
  }

  /** The number of page `vpn`, whose entry at words[at] is backed: see BackedPages. */
  #load(vpn: number, words: Int32Array, at: number, limit: number): number {
    this.#backed!.load(this.#ordinal, vpn, words, at, limit);
    return this.#backed!.numberOf(vpn);
  }

  /**
   * Row 6: classifies the neighbours in a backing from page `vpn` on, whose entries begin at
   * words[at]. Returns how many pages there are, at most `limit`.
   */
  #classifyBacked(vma: VmaView, vpn: number, words: Int32Array, at: number, limit: number): number {
    const pages = this.#backed!.load(this.#ordinal, vpn, words, at, limit);
    const first = this.#backed!.numberOf(vpn);
    for (let page = 0; page < pages; page++) {
      const word = this.#classWords.own(vma, vpn + page, first + page);
      this.#out.page(vpn + page, word, first + page);
    }
    return pages;
  }
}
