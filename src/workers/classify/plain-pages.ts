/**
 * The pages that most mappings consist of: an ordinary anonymous frame behind a 4 KiB leaf, with
 * content, shared with nobody that matters. One tight loop finds them, so that the processor has
 * the page structs and first words of several pages under way at a time; whatever else a page is, the
 * rules of classify.ts decide. What is taken here is COPY by those rules as well (rows 5 to 19).
 */
import { PAGE_STRUCT, PG } from '../../mmu/physical/page-struct.ts';
import { BANK_MASK, BANK_SHIFT, WORD_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { PTE } from '../../mmu/tables/pte.ts';

// Local copies of what the loop uses: see docs/decisions/hot-loops.md.
const { FLAGS, REFCOUNT, MAPPING, WORDS: PAGE_WORDS } = PAGE_STRUCT;
const PRESENT = PTE.PRESENT | PTE.PROTNONE;
const { SPECIAL } = PTE;
const { ANON } = PG;
const KIND = PG.ANON | PG.RESERVED;
const PFN_HIGH = 0xfffff;
const SHIFT = BANK_SHIFT;
const MASK = BANK_MASK;
const TO_WORD = WORD_SHIFT;

/** What the loop looks at beside the leaves. */
export interface PlainView {
  /** Page structs of the machine. */
  readonly pageWords: Int32Array;
  /** Frames of the machine. */
  readonly frames: number;
  readonly banks: readonly Int32Array[];
  /** A page whose first word is 0 is left to whoever looks at all of it. */
  readonly detectZero: boolean;
  /** An earlier mm may show the frame as well: a frame with two references is left alone. */
  readonly mayBeShared: boolean;
  /** Entries that were looked at ahead: words [aheadFrom, aheadTo). */
  aheadFrom: number;
  aheadTo: number;
  /** Takes what `touch` has loaded: loads that nobody wants would be left out. */
  touched: number;
}

/**
 * Takes plain pages from `limit` leaves at words[at], until the first that is something else. Their
 * frames go to sources[sourceAt] and on; returns how many.
 */
export function takePlainPages(
  view: PlainView,
  words: Int32Array,
  at: number,
  limit: number,
  sources: Int32Array,
  sourceAt: number,
): number {
  let taken = 0;
  while (taken < limit) {
    const from = at + taken * 2;
    if (from < view.aheadFrom || from >= view.aheadTo) lookAhead(view, words, from, limit - taken);
    const pages = Math.min(limit - taken, (view.aheadTo - from) >> 1);
    const found = takeBatch(view, words, from, pages, sources, sourceAt + taken);
    taken += found;
    if (found < pages) break;
  }
  return taken;
}

/** Pages that are looked at ahead: what they bring into the first cache stays there. */
const BATCH = 64;

/** At each entry once, also where plain pages are few between others. */
function lookAhead(view: PlainView, words: Int32Array, at: number, limit: number): void {
  const pages = Math.min(limit, BATCH);
  view.aheadFrom = at;
  view.aheadTo = at + pages * 2;
  if (!seemsInOrder(words, at, pages)) view.touched ^= touch(view, words, at, pages);
}

/** Frames side by side need no help: the processor sees where the loads go. */
function seemsInOrder(words: Int32Array, at: number, pages: number): boolean {
  return (words[at + (pages - 1) * 2]! >>> 12) - (words[at]! >>> 12) === pages - 1;
}

/**
 * Loads what takeBatch compares: loads that wait for nothing but memory, so that the processor has
 * as many under way as it can. Entries that hold no frame lead to a word that does no harm.
 */
function touch(view: PlainView, words: Int32Array, at: number, pages: number): number {
  const { pageWords, frames, banks, detectZero } = view;
  let sum = 0;
  for (let index = 0; index < pages; index++) {
    const pfn = words[at + index * 2]! >>> 12;
    if (pfn >= frames) continue;
    sum ^= pageWords[pfn * PAGE_WORDS]!;
    if (detectZero) sum ^= banks[pfn >>> SHIFT]![(pfn & MASK) << TO_WORD]!;
  }
  return sum;
}

function takeBatch(
  view: PlainView,
  words: Int32Array,
  at: number,
  limit: number,
  sources: Int32Array,
  sourceAt: number,
): number {
  const { pageWords, frames, banks, detectZero, mayBeShared } = view;
  let taken = 0;
  for (; taken < limit; taken++, at += 2) {
    const low = words[at]!;
    const high = words[at + 1]! & PFN_HIGH;
    if ((low & PRESENT) === 0 || (low & SPECIAL) !== 0 || high !== 0) break;
    const pfn = low >>> 12;
    if (pfn >= frames) break;
    const page = pfn * PAGE_WORDS;
    if ((pageWords[page + FLAGS]! & KIND) !== ANON || pageWords[page + MAPPING] === 0) break;
    if (mayBeShared && pageWords[page + REFCOUNT]! > 1) break;
    if (detectZero && banks[pfn >>> SHIFT]![(pfn & MASK) << TO_WORD] === 0) break;
    sources[sourceAt + taken] = pfn;
  }
  return taken;
}
