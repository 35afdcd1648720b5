/**
 * The class words of single pages: what a leaf, a frame, a swap slot or a backed page becomes in the
 * image of one mm. The loops over pages (`granule-classifier.ts`) ask for those that are not plain.
 */
import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGE_STRUCT, PG } from '../../mmu/physical/page-struct.ts';
import {
  BANK_MASK,
  BANK_SHIFT,
  type PhysicalMemory,
  WORD_SHIFT,
} from '../../mmu/physical/physical-memory.ts';
import type { SwapArea } from '../../mmu/swap/swap-area.ts';
import {
  CONTENT,
  classOfRule,
  ruleOfNotPresent,
  ruleOfPresent,
} from '../../mmu/tables/classify.ts';
import { isPresent } from '../../mmu/tables/pte.ts';
import { PAGE_CLASS, RULE } from '../../shared/dump/page-class.ts';
import { cloneWord, unsupportedWord } from '../../shared/dump/run-table.ts';
import type { FerriedPages } from '../ferry/ferried-pages.ts';
import { type BackedPages, identityOfFrame } from './backed-pages.ts';
import type { ClassifyPolicy } from './classify-policy.ts';
import type { Donors } from './donors.ts';
import { NOTHING } from './run-writer.ts';
import type { VmaView } from './vma-view.ts';

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const { FLAGS, REFCOUNT, MAPPING, PREV, WORDS: PAGE_WORDS } = PAGE_STRUCT;
const { KSM } = PG;
const { COPY, ZERO, GUARD, UNSUPPORTED, ABSENT } = PAGE_CLASS;
const RULE_CONTENT = CONTENT;
const RULE_UNREACHABLE_FILE = RULE.UNREACHABLE_FILE_OWNER;
const PAGE_SHIFT = 12;
/** Stands in for a class word: a page of an unreachable file, whose owner is not known yet. */
export const LOST_PAGE = -1;

/** How a classifier reaches pages whose bytes lie in no memory that the worker sees. */
export interface OtherPages {
  /** Undefined if no page of the machine lies in a backing. */
  readonly backed: BackedPages | undefined;
  /** Undefined if all memory of the machine is shared. */
  readonly ferried: FerriedPages | undefined;
}

/** Tells the class words of pages of one mm. */
export class ClassWords {
  readonly #ordinal: number;
  readonly #donors: Donors | undefined;
  readonly #policy: ClassifyPolicy;
  readonly #mm: Mm;
  readonly #pageWords: Int32Array;
  readonly #banks: readonly Int32Array[];
  readonly #frames: number;
  readonly #memory: PhysicalMemory;
  readonly #swap: SwapArea;
  readonly #backed: BackedPages | undefined;
  readonly #ferried: FerriedPages | undefined;
  /** The RULE of the last page, or of the last run of plain or empty pages. For `explain`. */
  rule: number = RULE.NO_ENTRY;

  constructor(
    mm: Mm,
    ordinal: number,
    donors: Donors | undefined,
    policy: ClassifyPolicy,
    { backed, ferried }: OtherPages,
  ) {
    this.#mm = mm;
    this.#ordinal = ordinal;
    this.#donors = donors;
    this.#policy = policy;
    this.#pageWords = mm.pages.words;
    this.#banks = mm.memory.words;
    this.#memory = mm.memory;
    this.#frames = mm.memory.frames;
    this.#swap = mm.machine.swap;
    this.#backed = backed;
    this.#ferried = ferried;
  }

  /** Class word for a leaf that is not zero, or LOST_PAGE. `slot`: the leaf's swap slot, or -1. */
  leaf(vma: VmaView, vpn: number, low: number, high: number, pfn: number, slot: number): number {
    let rule = NOTHING;
    if (!isPresent(low)) {
      rule = ruleOfNotPresent(low, high, slot);
    } else if (pfn < this.#frames) {
      const page = pfn * PAGE_WORDS;
      const flags = this.#pageWords[page + FLAGS]!;
      const mapping = this.#pageWords[page + MAPPING]!;
      rule = ruleOfPresent(low, flags, mapping, vma.file, vma.fileView, vma.isVdso);
      if (flags === 0 && !this.#memory.has(pfn)) rule = NOTHING;
    }
    if (rule === RULE_UNREACHABLE_FILE) return LOST_PAGE;
    return rule === RULE_CONTENT ? this.own(vma, vpn, pfn) : this.other(rule);
  }

  /** Class word by rows 17 to 19, for an anonymous page, a swap slot or a backed page. */
  own(vma: VmaView, vpn: number, pfn: number): number {
    const word = this.content(vpn, pfn);
    const donors = this.#donors;
    if (word !== COPY || this.#ordinal === 0 || donors === undefined) return word;
    if (vma.isShared || this.#isAlone(pfn)) return word;
    const donor = donors.find(this.#ordinal, vpn, this.#identity(pfn));
    if (donor < 0) return COPY;
    this.rule = RULE.CLONE;
    return cloneWord(donor);
  }

  /** What the page is to other mms: its frame or swap slot, or the backed page that it is. */
  #identity(pfn: number): number {
    if (this.#backed?.owns(pfn) === true) return this.#backed.identity(pfn);
    return pfn < this.#frames ? identityOfFrame(this.#mm.pages, pfn) : pfn;
  }

  /**
   * Whether the page cannot be a clone: its frame or slot has one reference and it does not lie in a
   * backing, or KSM has merged it, so that other mms have equal bytes by chance.
   */
  #isAlone(pfn: number): boolean {
    if (this.#backed?.owns(pfn) === true) return this.#backed.isMerged(pfn);
    if (pfn >= this.#frames) return this.#swap.references(pfn - this.#swap.base) < 2;
    const page = pfn * PAGE_WORDS;
    if ((this.#pageWords[page + FLAGS]! & KSM) !== 0) return true;
    return this.#pageWords[page + REFCOUNT]! < 2 && this.#pageWords[page + PREV] === 0;
  }

  /** Class word by rows 17 and 19: ZERO or COPY. */
  content(vpn: number, pfn: number): number {
    this.rule = RULE_CONTENT;
    if (!this.#policy.detectZero) return COPY;
    const ferried = this.#ferried;
    const number = ferried?.owns(pfn) === true ? ferried.numberOf(vpn, pfn) : pfn;
    const at = number & BANK_MASK;
    if (this.#banks[number >>> BANK_SHIFT]![at << WORD_SHIFT] !== 0) return COPY; // most pages
    if (!this.#policy.zeroTests[number >>> BANK_SHIFT]!(at << PAGE_SHIFT)) return COPY;
    this.rule = RULE.ALL_ZERO;
    return ZERO;
  }

  /** Class word for all rules but CONTENT. Rule NOTHING: the leaf points beyond physical memory. */
  other(rule: number): number {
    this.rule = rule === NOTHING ? RULE.NO_FRAME : rule;
    // There is no frame, so no policy can copy it.
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
}
