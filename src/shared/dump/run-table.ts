/**
 * Runs: neighbouring pages of one class, inside one VMA and one granule. The worker that classifies
 * a unit writes its runs, and the worker that writes the unit's records reads them. In a pass that
 * is the same worker, and the tables are its own. If the pages are counted first, it may be another
 * one. Kept tables therefore have a fixed part for each unit, with a record for each of its pages
 * (WorkUnits.first), so the place of a run does not depend on the workers.
 *
 * SOURCES is the list of frames that COPY runs take their bytes from, in the order of addresses.
 * The frames of a run are SOURCES[SOURCE] to SOURCES[SOURCE + COUNT - 1].
 */
import { PAGE_CLASS } from './page-class.ts';

/** The words of a run. */
export const RUN = {
  OFFSET: 0, // first page, counted from the start of its unit
  COUNT: 1, //  pages
  CLASS: 2, //  class word, see below
  SOURCE: 3, // COPY: index of its first frame in SOURCES
  WORDS: 4,
} as const;

const { WORDS } = RUN;

/** Bytes of a table of `runs` runs. */
export function runTableBytes(runs: number): number {
  return runs * WORDS * 4;
}

/*
 * The class word holds PAGE_CLASS in bits 0 to 7. It also holds
 *
 *   for UNSUPPORTED     the RULE in bits 8 to 15
 *   for COPY, ZERO and PARENT   FILE_PAGES_BIT
 *   for CLONE           the ordinal of the donor in bits 8 to 23
 *
 * Neighbouring pages belong to one run if their class words are equal. So a run of clones has one
 * donor.
 */

/**
 * The pages are those of the mapped file, although the mapping is private. They are not copies that
 * belong to the mm.
 */
export const FILE_PAGES_BIT = 0x10000;

/** The class word of pages that no image can hold, with the rule that says so. */
export function unsupportedWord(rule: number): number {
  return PAGE_CLASS.UNSUPPORTED | (rule << 8);
}

/** The class word of pages that an earlier mm of the dump stores. `donor` is its ordinal. */
export function cloneWord(donor: number): number {
  return PAGE_CLASS.CLONE | (donor << 8);
}

/** The ordinal of the mm that stores the pages, from the class word of a CLONE. */
export function donorOf(word: number): number {
  return (word >>> 8) & 0xffff;
}

/** The PAGE_CLASS in a class word. */
export function classOf(word: number): number {
  return word & 0xff;
}

/** The RULE in the class word of UNSUPPORTED pages. */
export function ruleOf(word: number): number {
  return (word >>> 8) & 0xff;
}
