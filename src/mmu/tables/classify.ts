/**
 * The rules that decide what a dump does with a page: rows 6 to 16 of docs/CLASSIFICATION.md, as
 * pure functions of one leaf and one page struct. The plan decides rows 1 to 3, for whole ranges.
 * Row 4, a huge leaf, applies these functions to each of its 512 pages. The callers decide row 5
 * (no entry), an entry that points beyond memory (RULE.NO_FRAME), and rows 17 and 18, which look at
 * content and at other mms.
 *
 * The rule CONTENT means that the page has content of its own, in a frame or in a swap slot: rows
 * 17 to 19 decide. RULE.UNREACHABLE_FILE_OWNER means that the page belongs to an unreachable file,
 * and that its owner stores it.
 */
import { PAGE_CLASS, RULE } from '../../shared/dump/page-class.ts';
import { WORDS_PER_PAGE } from '../../shared/page.ts';
import { PG } from '../physical/page-struct.ts';
import { isBacked, MARKER, PTE, SWAP_TYPE, swapTypeOf, swapValueOf } from './pte.ts';

/** Values for what the rules have to know about the file that the VMA of a page maps. */
export const FILE_VIEW = {
  NONE: 0, //   the VMA has no file
  LIVING: 1, // an ordinary living file: the backing store has its pages
  UNREACHABLE: 2, // an unreachable file, memory-backed or deleted: only a dump can supply its pages
} as const;

/** The rule of a page with content of its own: rows 17 to 19 decide. */
export const CONTENT: number = RULE.COPY;

const { WRITE, SPECIAL } = PTE;
const { ANON, RESERVED, ZERO } = PG;
const { UNREACHABLE } = FILE_VIEW;
const NO_FILE = FILE_VIEW.NONE;

// Local copies of what the loop over pages uses: see docs/decisions/hot-loops.md.
const RULE_NO_NORMAL_PAGE = RULE.NO_NORMAL_PAGE;
const RULE_MAPPING_WITHOUT_FILE = RULE.MAPPING_WITHOUT_FILE;
const RULE_OTHER_MAPPING = RULE.OTHER_MAPPING;
const RULE_LIVING_FILE = RULE.LIVING_FILE;
const RULE_UNREACHABLE_FILE = RULE.UNREACHABLE_FILE_OWNER;
const RULE_WRITABLE_ZERO = RULE.WRITABLE_ZERO_PAGE;
const RULE_ZERO_PAGE = RULE.ZERO_PAGE;
const RULE_RESERVED = RULE.RESERVED;
const RULE_NO_MAPPING = RULE.NO_MAPPING;
const RULE_VDSO = RULE.VDSO;
const RULE_CONTENT = RULE.COPY;

/**
 * Returns the rule for a present leaf: rows 8 to 16. The caller has checked that its frame exists.
 *
 * @param low low word of the leaf
 * @param flags PG bits of its frame; in a huge leaf, those of the frame of the page itself
 * @param mapping MAPPING of the frame
 * @param file id of the VMA's file, 0 = none
 * @param fileView FILE_VIEW of that file
 * @param isVdso whether the VMA is the vdso's
 */
export function ruleOfPresent(
  low: number,
  flags: number,
  mapping: number,
  file: number,
  fileView: number,
  isVdso: boolean,
): number {
  if ((low & SPECIAL) !== 0) return RULE_NO_NORMAL_PAGE;
  if (mapping !== 0 && (flags & ANON) === 0) {
    if (fileView === NO_FILE) return RULE_MAPPING_WITHOUT_FILE;
    if (mapping !== file) return RULE_OTHER_MAPPING;
    return fileView === UNREACHABLE ? RULE_UNREACHABLE_FILE : RULE_LIVING_FILE;
  }
  if ((flags & RESERVED) !== 0) {
    if ((flags & ZERO) === 0) return RULE_RESERVED;
    return (low & WRITE) !== 0 ? RULE_WRITABLE_ZERO : RULE_ZERO_PAGE;
  }
  if (mapping === 0) return isVdso ? RULE_VDSO : RULE_NO_MAPPING;
  return RULE_CONTENT;
}

/**
 * Returns the rule for an entry that is neither zero nor present: rows 6 and 7. `slot` is what
 * SwapArea.slotOf returned for the entry. It is negative unless a slot in use is meant, and such a
 * slot leads to CONTENT, as a backed entry does.
 */
export function ruleOfNotPresent(low: number, high: number, slot: number): number {
  if (slot >= 0 || isBacked(low)) return CONTENT;
  if (swapTypeOf(high) !== SWAP_TYPE.MARKER) return RULE.BAD_SWAP;
  return swapValueOf(low) === MARKER.GUARD ? RULE.GUARD : RULE.POISONED;
}

/** Returns the class that a rule leads to by itself. Rows 17 and 18 may still change RULE.COPY. */
export function classOfRule(rule: number): number {
  switch (rule) {
    case RULE.NO_NORMAL_PAGE:
    case RULE.UNREACHABLE_FILE_OWNER:
    case RULE.VDSO:
    case RULE.COPY:
      return PAGE_CLASS.COPY;
    case RULE.ZERO_PAGE:
    case RULE.ALL_ZERO:
      return PAGE_CLASS.ZERO;
    case RULE.CLONE:
      return PAGE_CLASS.CLONE;
    case RULE.GUARD:
    case RULE.POISONED:
      return PAGE_CLASS.GUARD; // neither has content, and neither may read as zeros
    case RULE.TABLE_BAD:
    case RULE.NO_FRAME:
    case RULE.MAPPING_WITHOUT_FILE:
    case RULE.OTHER_MAPPING:
    case RULE.WRITABLE_ZERO_PAGE:
    case RULE.RESERVED:
    case RULE.NO_MAPPING:
    case RULE.BAD_SWAP:
      return PAGE_CLASS.UNSUPPORTED;
    default:
      return PAGE_CLASS.ABSENT;
  }
}

/**
 * Row 17: whether all 4096 bytes of the page at `words[at]` are zero. Most pages already differ in
 * their first word, which is tested alone. The others are tested in steps of eight words.
 */
export function isZeroPage(words: Int32Array, at: number): boolean {
  if (words[at] !== 0) return false;
  for (let end = at + WORDS_PER_PAGE; at < end; at += 8) {
    if (
      (words[at]! |
        words[at + 1]! |
        words[at + 2]! |
        words[at + 3]! |
        words[at + 4]! |
        words[at + 5]! |
        words[at + 6]! |
        words[at + 7]!) !==
      0
    ) {
      return false;
    }
  }
  return true;
}
