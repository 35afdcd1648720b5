/**
 * Runs: neighbouring pages of one class inside one VMA and one granule. Written by the classify
 * phase, each worker into records that it reserved, read by the layout.
 *
 * SOURCES is the list of frames that the COPY runs take their bytes from, in order of address: a
 * run's pages are SOURCES[SOURCE] … SOURCES[SOURCE + COUNT - 1].
 */
import { PAGE_CLASS } from './page-class.ts';

export const RUN = {
  OFFSET: 0, // first page, from the start of its unit
  COUNT: 1, //  pages
  CLASS: 2, //  PAGE_CLASS in bits 0 to 7, RULE in bits 8 to 15 if UNSUPPORTED, FILE_PAGES
  SOURCE: 3, // COPY: index of its first frame in SOURCES; CLONE: ordinal of the donor
  WORDS: 4,
} as const;

const { WORDS } = RUN;

export function runTableBytes(runs: number): number {
  return runs * WORDS * 4;
}

/** The pages are the mapped file's, not this mm's, although the mapping is private. */
export const FILE_PAGES_BIT = 0x10000;

/** The class word of pages that no image can hold, with the reason. */
export function unsupportedWord(rule: number): number {
  return PAGE_CLASS.UNSUPPORTED | (rule << 8);
}

export function classOf(word: number): number {
  return word & 0xff;
}

export function ruleOf(word: number): number {
  return (word >>> 8) & 0xff;
}
