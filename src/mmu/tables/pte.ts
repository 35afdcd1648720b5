/**
 * Page-table entries of x86-64 as two 32-bit words, low word first.
 *
 *   63  62..52  51 …… 32 | 31 …… 12  11..9  8   7   6  5  4   3   2  1  0
 *   NX  ignored  pfn high |  pfn low   soft   G PSE  D  A PCD PWT US RW  P
 *
 * An entry without P may still be in use. Bit 8 marks a page under PROT_NONE, which is present for
 * the kernel (_PAGE_PROTNONE). Any other entry that is not zero is a swap entry or a marker, with
 * its type in bits 63..59 and its value in bits 31..12. The type of a swap entry is its swap bank,
 * and its value is the slot in that bank, plus one.
 *
 * A backed entry has bit 11 instead: its page lies in a backing (`backing/backing-table.ts`) and is
 * in no frame. Bits 58..52 are the number of the backing, and bits 51..32 and 31..12 the high and the
 * low half of the page's place in it. Its type is that of markers, which have no such bit. Bit 10 of
 * a backed entry marks a page that KSM has merged.
 *
 * A page that was written since its mm's dirty pages were last taken is soft-dirty (`dirty.ts`).
 * Present entries say so by bit 11, as in Linux (_PAGE_SOFT_DIRTY). Bit 11 of other entries means
 * BACKED, so swap entries and backed ones say it by bit 1 (_PAGE_SWP_SOFT_DIRTY). Markers never do.
 *
 * The low word holds P. So an entry is published by writing the high word first, and withdrawn in
 * the other order. Only `setEntry`, `setEntries`, `replaceEntry` and `clearEntry` write entries,
 * and fork, which writes them with plain stores where no other thread can walk
 * (`calls/copy-tables.ts`).
 */

/** Bits of an entry. All but NX_HIGH are bits of the low word. */
export const PTE = {
  PRESENT: 0x1,
  WRITE: 0x2,
  USER: 0x4,
  PWT: 0x8,
  PCD: 0x10,
  ACCESSED: 0x20,
  DIRTY: 0x40,
  HUGE: 0x80, //      PSE: a 2 MiB leaf, in a pmd
  PROTNONE: 0x100, // present for the kernel, not for the processor
  SPECIAL: 0x200, //  bit 9, for software: no normal page is behind the entry (vm_normal_page)
  ADOPTED_COPY: 0x400, // bit 10, of a snapshot's leaf: its frame is a copy of an adopted one
  MERGED: 0x400, //   bit 10, of a backed entry: KSM has merged its page
  BACKED: 0x800, //   bit 11, of an entry that is not present: its page lies in a backing
  SOFT_DIRTY: 0x800, // bit 11, of a present entry: written since dirty pages were last taken
  SWAP_SOFT_DIRTY: 0x2, // bit 1, of a swap entry or a backed one: the same of its page
  NX_HIGH: -0x8000_0000, // bit 63, in the high word, as a signed word
} as const;

/** Low bits of an entry that points to a lower table: _PAGE_TABLE. */
export const TABLE_ENTRY = 0x67;

/**
 * Values of the type of an entry that is not present: bits 63..59, which are bits 31..27 of its
 * high word.
 */
export const SWAP_TYPE = {
  LAST_BANK: 30, // 0 to 30 are banks of swap
  MARKER: 31, //    SWP_PTE_MARKER; the value says which
} as const;

/** Values of a marker: PTE_MARKER_POISONED, PTE_MARKER_GUARD. */
export const MARKER = { POISONED: 2, GUARD: 4 } as const;

const { PRESENT, WRITE, USER, ACCESSED, DIRTY, PROTNONE, MERGED, BACKED } = PTE;
const { SOFT_DIRTY, SWAP_SOFT_DIRTY } = PTE;
/** What a write to a page sets in its leaf (pte_mkdirty). */
export const WRITTEN: number = DIRTY | SOFT_DIRTY;
const PFN_HIGH_MASK = 0xfffff;
const PFN_HIGH_SHIFT = 20;
const PFN_HIGH_UNIT = 0x10_0000;
const TYPE_SHIFT = 27;

/**
 * Whether the kernel treats the entry as present (pte_present): the processor does so, too, or the
 * page is under PROT_NONE.
 */
export function isPresent(low: number): boolean {
  return (low & (PRESENT | PROTNONE)) !== 0;
}

/**
 * The pfn in an entry. It has 40 bits, more than any machine has frames, so the caller compares it
 * with the number of frames before it uses it.
 */
export function pfnOf(low: number, high: number): number {
  return (low >>> 12) + (high & PFN_HIGH_MASK) * PFN_HIGH_UNIT;
}

/** Low word of an entry: pfn and flags. */
export function lowOf(pfn: number, flags: number): number {
  return (pfn << 12) | flags;
}

/** High word of an entry: pfn, and NX_HIGH if `nxHigh` is not 0. */
export function highOf(pfn: number, nxHigh: number): number {
  return (pfn >>> PFN_HIGH_SHIFT) | nxHigh;
}

/** Low word of a marker with this value. */
export function markerLow(value: number): number {
  return value << 12;
}

/** High word of every marker. */
export const MARKER_HIGH: number = (SWAP_TYPE.MARKER << TYPE_SHIFT) | 0;

/** Type of an entry that is neither zero nor present. */
export function swapTypeOf(high: number): number {
  return high >>> TYPE_SHIFT;
}

/** Value of an entry that is neither zero nor present. */
export function swapValueOf(low: number): number {
  return low >>> 12;
}

/** Whether the entry is a guard marker. */
export function isGuard(low: number, high: number): boolean {
  return low === markerLow(MARKER.GUARD) && high === MARKER_HIGH;
}

/** Low word of the swap entry for a slot, which is counted within its bank. */
export function swapLow(slotInBank: number): number {
  return (slotInBank + 1) << 12;
}

/** High word of the swap entries of a bank. */
export function swapHigh(bank: number): number {
  return bank << TYPE_SHIFT;
}

const PLACE_HIGH_MASK = 0xfffff;
/** What the high half of a place counts: 2^20 places. */
export const PLACES_OF_LOW = 0x10_0000;
const PLACE_UNIT = PLACES_OF_LOW;
/** What the low word grows by from one backed entry to the next, while its high half is the same. */
export const NEXT_PLACE = 0x1000;
const BACKING_SHIFT = 20;
const BACKING_MASK = 0x7f;

/** Whether the entry is a backed one. */
export function isBacked(low: number): boolean {
  return (low & (PRESENT | PROTNONE | BACKED)) === BACKED;
}

/** Whether the entry is a backed one whose page KSM has merged. */
export function isMerged(low: number): boolean {
  return isBacked(low) && (low & MERGED) !== 0;
}

/** Low word of the backed entry of the page at `place`, which is below 2^40. */
export function backedLow(place: number): number {
  return ((place % PLACE_UNIT) << 12) | BACKED;
}

/** High word of the backed entries of a backing whose places have the same high half as `place`. */
export function backedHigh(backing: number, place: number): number {
  const type = SWAP_TYPE.MARKER << TYPE_SHIFT;
  return type | (backing << BACKING_SHIFT) | Math.floor(place / PLACE_UNIT);
}

/** Number of the backing in a backed entry. */
export function backingOf(high: number): number {
  return (high >>> BACKING_SHIFT) & BACKING_MASK;
}

/** Place of the page in the backing, from a backed entry. */
export function placeOf(low: number, high: number): number {
  return (low >>> 12) + (high & PLACE_HIGH_MASK) * PLACE_UNIT;
}

/**
 * Replaces an entry by one that may have another frame, or by an empty one. The low word is zero in
 * between, so a thread that walks without the lock never combines the present low word of one entry
 * with the high word of the other. Page-table lock held.
 */
export function replaceEntry(words: Int32Array, at: number, low: number, high: number): void {
  Atomics.store(words, at, 0);
  words[at + 1] = high;
  Atomics.store(words, at, low);
}

/** Publishes an entry: the high word, then the low word, which makes it present. */
export function setEntry(words: Int32Array, at: number, low: number, high: number): void {
  words[at + 1] = high;
  Atomics.store(words, at, low);
}

/**
 * Publishes `count` neighbouring entries that were empty. The low word grows by `lowStep` from one
 * entry to the next. There is one atomic store, between all high words and the other low words. One
 * per entry would take as long as copying a tenth of the page behind it.
 */
export function setEntries(
  words: Int32Array,
  at: number,
  count: number,
  low: number,
  high: number,
  lowStep: number,
): void {
  const end = at + count * 2;
  for (let entry = at; entry < end; entry += 2) words[entry + 1] = high;
  Atomics.store(words, at, low);
  for (let entry = at + 2, next = low + lowStep; entry < end; entry += 2, next += lowStep) {
    words[entry] = next;
  }
}

/** Withdraws an entry: the low word first. */
export function clearEntry(words: Int32Array, at: number): void {
  Atomics.store(words, at, 0);
  words[at + 1] = 0;
}

/** Low word of a backed entry without its soft-dirty bit: equal entries name the same page. */
export function namedPage(low: number): number {
  return low & ~SWAP_SOFT_DIRTY;
}

/** The bit of a present leaf for the soft-dirty bit of a swap entry or a backed one. */
export function softOfSwapped(low: number): number {
  return (low & SWAP_SOFT_DIRTY) !== 0 ? SOFT_DIRTY : 0;
}

/** The bit of a swap entry for the soft-dirty bit of the present leaf whose place it takes. */
export function swappedOfSoft(low: number): number {
  return (low & SOFT_DIRTY) !== 0 ? SWAP_SOFT_DIRTY : 0;
}

/**
 * The entry with its page soft-dirty (move_soft_dirty_pte). Empty entries and markers have no page,
 * and stay as they are.
 */
export function withSoftDirty(low: number, high: number): number {
  if (isPresent(low)) return low | SOFT_DIRTY;
  const hasPage = low !== 0 && (isBacked(low) || swapTypeOf(high) !== SWAP_TYPE.MARKER);
  return hasPage ? low | SWAP_SOFT_DIRTY : low;
}

/**
 * Low bits of a leaf for the privileges of its VMA (low word of `pagePrivileges`), writable and
 * written or not. Under PROT_NONE the leaf is never writable.
 */
export function leafFlags(privilegesLow: number, writable: boolean, dirty: boolean): number {
  if ((privilegesLow & PRESENT) === 0) return PROTNONE | ACCESSED | (dirty ? WRITTEN : 0);
  return PRESENT | USER | ACCESSED | (writable ? WRITE : 0) | (dirty ? WRITTEN : 0);
}
