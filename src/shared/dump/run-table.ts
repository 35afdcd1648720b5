/**
 * Runs: neighbouring pages of one class inside one VMA and one granule. The worker that classifies a
 * unit writes them, and the worker that writes the unit's records reads them: the same one at once in a
 * pass, perhaps another where the pages are counted first. Kept tables give every unit its own part, with
 * a place for each of its pages (WorkUnits.first): where a run stands depends on no worker.
 *
 * SOURCES is the list of frames that the COPY runs take their bytes from, in order of address: a
 * run's pages are SOURCES[SOURCE] … SOURCES[SOURCE + COUNT - 1].
 */
import { PAGE_CLASS } from './page-class.ts';

export const RUN = {
  OFFSET: 0, // first page, from the start of its unit
  COUNT: 1, //  pages
  CLASS: 2, //  class word, see below
  SOURCE: 3, // COPY: index of its first frame in SOURCES
  WORDS: 4,
} as const;

const { WORDS } = RUN;

export function runTableBytes(runs: number): number {
  return runs * WORDS * 4;
}

/*
 * Class word: PAGE_CLASS in bits 0 to 7; for UNSUPPORTED the RULE in bits 8 to 15; for COPY and ZERO
 * FILE_PAGES_BIT; for CLONE the ordinal of the donor in bits 8 to 23. Neighbouring pages are one run
 * where their words are equal, so a run of clones has one donor.
 */

/** The pages are the mapped file's, not this mm's, although the mapping is private. */
export const FILE_PAGES_BIT = 0x10000;

/** The class word of pages that no image can hold, with the reason. */
export function unsupportedWord(rule: number): number {
  return PAGE_CLASS.UNSUPPORTED | (rule << 8);
}

/** The class word of pages that an earlier mm of the dump stores. */
export function cloneWord(donor: number): number {
  return PAGE_CLASS.CLONE | (donor << 8);
}

/** Of a CLONE's class word: ordinal of the mm that stores the pages. */
export function donorOf(word: number): number {
  return (word >>> 8) & 0xffff;
}

export function classOf(word: number): number {
  return word & 0xff;
}

export function ruleOf(word: number): number {
  return (word >>> 8) & 0xff;
}
