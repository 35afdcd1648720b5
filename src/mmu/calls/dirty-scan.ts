/**
 * Goes through the entries of an mm and lists the pages that are dirty (`dirty.ts` has the rules).
 * The mmap lock is held for writing, or for reading while the machine is frozen and nothing is
 * cleared, so entries are read and cleared by plain loads and stores.
 */
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';
import { seenAt } from '../physical/adopted-marks.ts';
import { isPresent, PTE, pfnOf } from '../tables/pte.ts';
import { walkRange } from '../tables/walk-range.ts';
import { VMA_KIND } from '../vma/vma-table.ts';

const { SOFT_DIRTY, SWAP_SOFT_DIRTY, PRESENT } = PTE;
/** PRESENT and PROTNONE: an entry with one of them is present (`isPresent`). */
const PRESENT_BITS = PTE.PRESENT | PTE.PROTNONE;
/** Words of the entries that are looked at together. */
const GROUP_WORDS = 16;
/** Flags of mappings whose pages are written through other mappings, files or devices as well. */
const WRITTEN_ELSEWHERE =
  (VM.SHARED | VM.MAYSHARE | VM.PFNMAP | VM.MIXEDMAP | VM.IO | VM.HUGETLB) >>> 0;

/** What a collection does besides listing the dirty pages. */
export interface Wanted {
  /** Whether what is listed is clean from now on. */
  readonly clears: boolean;
  /**
   * Whether pages are listed of which the entries do not tell if they have changed: those of shared
   * mappings, of files, of devices and of the kernel, and adopted pages without marks.
   */
  readonly listsUnknown: boolean;
}

/** A collection, with the steps of adopted memory: of the last one that has cleared, and its own. */
interface Scan extends Wanted {
  readonly since: number;
  readonly step: number;
}

/** Ascending ranges of pages that do not touch: the first page and the page after the last. */
class Ranges {
  readonly pages: number[] = [];
  #to = -1;

  /** Adds pages [from, to), which lie behind all others. */
  add(from: number, to: number): void {
    const { pages } = this;
    if (from === this.#to) pages[pages.length - 1] = to;
    else pages.push(from, to);
    this.#to = to;
  }
}

/** Lists the dirty pages, two elements per range: its first page, and the first page after it. */
export function collectDirty(mm: Mm, wanted: Wanted): number[] {
  const { vmas, struct, machine } = mm;
  const ranges = new Ranges();
  const since = struct.get(MM_FIELD.ADOPTED_SEEN) >>> 0;
  // Before the first look: what changes from here on has a later step.
  const step = wanted.clears && machine.adoptedMarks ? machine.nextAdoptedStep() : 0;
  const scan = { ...wanted, since, step };
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const isWhole = !vmas.isClean(slot) || (wanted.listsUnknown && isUnknown(mm, slot));
    if (isWhole) ranges.add(vmas.start(slot), vmas.end(slot));
    if (!isWhole || wanted.clears) {
      collectVma(mm, slot, scan, isWhole ? new Ranges() : ranges);
    }
    if (wanted.clears) vmas.setClean(slot, true);
  }
  if (wanted.clears) struct.set(MM_FIELD.ADOPTED_SEEN, seenAt(step));
  return ranges.pages;
}

/** Whether pages of the VMA can change without a trace in their entries. */
function isUnknown({ vmas }: Mm, slot: number): boolean {
  return (
    (vmas.flags(slot) & WRITTEN_ELSEWHERE) !== 0 ||
    vmas.file(slot) !== 0 ||
    vmas.kind(slot) !== VMA_KIND.ORDINARY
  );
}

function collectVma(mm: Mm, slot: number, scan: Scan, ranges: Ranges): void {
  const { cursor, vmas, machine } = mm;
  const hasMarks = machine.adoptedMarks !== undefined;
  walkRange(mm, vmas.start(slot), vmas.end(slot), 'look', (found, vpn, end) => {
    const { words, at } = cursor;
    if (found === 'huge') {
      // Of a leaf of 2 MiB, only the part that lies in the VMA is listed.
      if ((words[at]! & SOFT_DIRTY) === 0) return;
      ranges.add(vpn, end);
      const isWhole = vpn % GRANULE_PAGES === 0 && end - vpn === GRANULE_PAGES;
      if (scan.clears && isWhole) words[at]! &= ~SOFT_DIRTY;
      return;
    }
    if (hasMarks) collectMarked(mm, vpn, end, scan, ranges);
    else collectTable(words, at, vpn, end, scan.clears, ranges);
  });
}

/**
 * Whether the eight entries at words[at] are clean for sure. Bit 1 of an entry that is not present
 * is its soft-dirty bit and otherwise a permission, so it counts unless all of them are present.
 */
function isQuiet(words: Int32Array, at: number): boolean {
  const a = words[at]!;
  const b = words[at + 2]!;
  const c = words[at + 4]!;
  const d = words[at + 6]!;
  const e = words[at + 8]!;
  const f = words[at + 10]!;
  const g = words[at + 12]!;
  const h = words[at + 14]!;
  const any = a | b | c | d | e | f | g | h;
  if ((any & SOFT_DIRTY) !== 0) return false; // or a backed entry, which the slow way looks at
  return (any & SWAP_SOFT_DIRTY) === 0 || (a & b & c & d & e & f & g & h & PRESENT) !== 0;
}

/**
 * Adds the dirty pages [vpn, end) of a table whose first entry is words[at], and makes their
 * entries clean with `clears`. Most entries are clean, so eight are looked at together first.
 */
function collectTable(
  words: Int32Array,
  at: number,
  vpn: number,
  end: number,
  clears: boolean,
  ranges: Ranges,
): void {
  const last = at + (end - vpn) * 2;
  let from = -1; // word of the first entry of a run of dirty ones
  let group = at; // where the next group begins
  for (let next = at; next < last; next += 2) {
    if (next === group) {
      group += GROUP_WORDS;
      if (from < 0 && group <= last && isQuiet(words, next)) {
        next = group - 2;
        continue;
      }
    }
    const low = words[next]!;
    const bit = (low & PRESENT_BITS) !== 0 ? SOFT_DIRTY : SWAP_SOFT_DIRTY;
    if ((low & bit) !== 0) {
      if (clears) words[next] = low & ~bit;
      if (from < 0) from = next;
    } else if (from >= 0) {
      ranges.add(vpn + (from - at) / 2, vpn + (next - at) / 2);
      from = -1;
    }
  }
  if (from >= 0) ranges.add(vpn + (from - at) / 2, end);
}

/**
 * Does the same in a machine with adopted memory: a page is dirty, too, if its owner has marked it,
 * or, with `listsUnknown`, if nobody knows.
 */
function collectMarked(
  { machine, cursor }: Mm,
  vpn: number,
  end: number,
  { clears, listsUnknown, since, step }: Scan,
  ranges: Ranges,
): void {
  const { words, at } = cursor;
  const marks = machine.adoptedMarks!;
  for (let page = vpn, next = at; page < end; page++, next += 2) {
    const low = words[next]!;
    const bit = (low & PRESENT_BITS) !== 0 ? SOFT_DIRTY : SWAP_SOFT_DIRTY;
    let isDirty = (low & bit) !== 0;
    if (isDirty && clears) words[next] = low & ~bit;
    const pfn = isPresent(low) ? pfnOf(low, words[next + 1]!) : 0;
    if (pfn >= marks.first) {
      const hasChanged = clears && marks.settle(pfn, isDirty, since, step);
      isDirty ||= hasChanged || marks.hasChanged(pfn, since, listsUnknown);
    }
    if (isDirty) ranges.add(page, page + 1);
  }
}
