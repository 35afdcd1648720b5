/**
 * Plain pages, of which most VMAs consist: a 4 KiB leaf shows an ordinary anonymous frame, which
 * has content and which no earlier mm can show. One tight loop finds them, so that the processor
 * loads the page structs and first words of several pages at a time. The rules of classify.ts
 * decide about all other pages. They would make each page that is taken here COPY, too (rows 5 to
 * 19).
 */
import { PAGE_STRUCT, PG } from '../../mmu/physical/page-struct.ts';
import { BANK_MASK, BANK_SHIFT, WORD_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { PTE } from '../../mmu/tables/pte.ts';

// Local copies of what the loop uses: see docs/decisions/hot-loops.md.
const { FLAGS, REFCOUNT, MAPPING, PREV, WORDS: PAGE_WORDS } = PAGE_STRUCT;
const PRESENT = PTE.PRESENT | PTE.PROTNONE;
const { SPECIAL } = PTE;
const { ANON } = PG;
const KIND = PG.ANON | PG.RESERVED;
const PFN_HIGH = 0xfffff;
const SHIFT = BANK_SHIFT;
const MASK = BANK_MASK;
const TO_WORD = WORD_SHIFT;

/** What the loop reads besides the leaves. */
export interface PlainView {
  /** Page structs of the machine. */
  readonly pageWords: Int32Array;
  /** Number of frames of the machine. */
  readonly frames: number;
  /** Words of physical memory, one array for each bank. */
  readonly banks: readonly Int32Array[];
  /** If true, a page whose first word is 0 is not plain: all of its bytes have to be looked at. */
  readonly detectZero: boolean;
  /**
   * An earlier mm may show the same page: a frame with several references is not plain, nor is one
   * that was loaded from a backing.
   */
  readonly mayBeShared: boolean;
  /** The lookahead has covered words [aheadFrom, aheadTo) of the leaves. */
  aheadFrom: number;
  aheadTo: number;
  /** Uses the words that `touch` loads. The compiler would remove loads that have no use. */
  touched: number;
}

/**
 * Takes plain pages from the `limit` leaves at words[at], up to the first page that is not plain.
 * Writes their frames to sources[sourceAt] and the elements after it, and returns their number.
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

/** Pages per lookahead. What they bring into the first-level cache stays there until it is used. */
const BATCH = 64;

/** Looks at each entry only once, even where there are few plain pages between others. */
function lookAhead(view: PlainView, words: Int32Array, at: number, limit: number): void {
  const pages = Math.min(limit, BATCH);
  view.aheadFrom = at;
  view.aheadTo = at + pages * 2;
  if (!seemsInOrder(words, at, pages)) view.touched ^= touch(view, words, at, pages);
}

/** Whether the frames seem to be neighbours. The processor foresees the loads of such frames. */
function seemsInOrder(words: Int32Array, at: number, pages: number): boolean {
  return (words[at + (pages - 1) * 2]! >>> 12) - (words[at]! >>> 12) === pages - 1;
}

/**
 * Loads the words that takeBatch compares. These loads wait for nothing but memory, so the
 * processor keeps as many in flight as it can. An entry without a frame makes it load an unrelated
 * word, which does no harm.
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
    // A page that was loaded from a backing (PREV is of its origin) may have siblings there.
    if (mayBeShared && (pageWords[page + REFCOUNT]! > 1 || pageWords[page + PREV] !== 0)) break;
    if (detectZero && banks[pfn >>> SHIFT]![(pfn & MASK) << TO_WORD] === 0) break;
    sources[sourceAt + taken] = pfn;
  }
  return taken;
}
