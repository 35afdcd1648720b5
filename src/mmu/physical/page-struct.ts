/**
 * Page structs: 32 bytes a frame, in a SharedArrayBuffer of their own (struct page).
 *
 * REFCOUNT counts everybody who keeps the frame: a mapping PTE, a page cache, a pin, a page table
 * its parent entry. MAPCOUNT counts the PTEs of user space that map it; a 2 MiB leaf counts once in
 * each of its 512 frames, so that splitting one changes no count. At 0 references it is freed.
 */
import { highWord, join, lowWord } from '../../shared/u64.ts';

export const PAGE_STRUCT = {
  FLAGS: 0, //    PG bits; whoever allocates the frame, before it is mapped; then Atomics only
  REFCOUNT: 1, // Atomics only
  MAPCOUNT: 2, // Atomics only
  MAPPING: 3, //  file id, or anon_vma id if PG.ANON; 0 = none; immutable while referenced
  INDEX_LO: 4, // page of the file, or virtual page number of the first mapping if PG.ANON
  INDEX_HI: 5, // … high word
  NEXT: 6, //     free: next block of the same order (allocator lock) · table: its page-table lock
  PREV: 7, //     free: previous block (allocator lock) · table: level, 1 (PTEs) to 4 · node of a page cache: entries in use (file lock)
  WORDS: 8, //    stride
} as const;

export const PG = {
  RESERVED: 0x1, //    never allocated nor freed: firmware, ZERO_PAGE, device memory
  ANON: 0x2, //        PageAnon
  SWAPBACKED: 0x4, //  anonymous or shmem
  KSM: 0x8, //         merged by content
  TABLE: 0x10, //      a page table
  BUDDY: 0x20, //      first frame of a free block; its order is in ORDER
  HUGE: 0x40, //       allocated as one of the 512 frames of a 2 MiB page
  CACHE_NODE: 0x80, // a node of a page-cache tree
  STALE: 0x100, //     was used before: its bytes are not zero
  DIRTY: 0x200, //     a file's page that was written and is not in its backing store yet
  ZERO: 0x400, //      the zero page, or one of the huge zero page's frames; RESERVED as well
  LAZYFREE: 0x800, //  MADV_FREE: may be dropped under pressure while its leaf is clean
} as const;

/** Order of a free block, in the flags of its first frame. */
export const ORDER_SHIFT = 24;
export const ORDER_MASK = 0xf;

/** Frame 0 is never used, so that 0 can mean "none"; frame 1 is the zero page, PG.ZERO. */
export const ZERO_PAGE_PFN = 1;
export const FIRST_FREE_PFN = 2;

const { FLAGS, REFCOUNT, MAPCOUNT, MAPPING, INDEX_LO, INDEX_HI, NEXT, PREV, WORDS } = PAGE_STRUCT;

export class PageStructs {
  /** For hot loops, which index it with PAGE_STRUCT; everybody else uses the accessors. */
  words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /** The machine was closed: nobody looks at it any more. */
  letGo(): void {
    this.words = new Int32Array();
  }

  flags(pfn: number): number {
    return this.words[pfn * WORDS + FLAGS]!;
  }

  setFlags(pfn: number, flags: number): void {
    this.words[pfn * WORDS + FLAGS] = flags;
  }

  addFlags(pfn: number, flags: number): void {
    Atomics.or(this.words, pfn * WORDS + FLAGS, flags);
  }

  clearFlags(pfn: number, flags: number): void {
    Atomics.and(this.words, pfn * WORDS + FLAGS, ~flags);
  }

  references(pfn: number): number {
    return Atomics.load(this.words, pfn * WORDS + REFCOUNT);
  }

  /** For who has just dropped the last reference: nobody else changes the count. */
  isUnreferenced(pfn: number): boolean {
    return this.words[pfn * WORDS + REFCOUNT] === 0;
  }

  setReferences(pfn: number, count: number): void {
    Atomics.store(this.words, pfn * WORDS + REFCOUNT, count);
  }

  /** get_page */
  get(pfn: number): void {
    Atomics.add(this.words, pfn * WORDS + REFCOUNT, 1);
  }

  /** Drops a reference; true when it was the last. Use FrameAllocator.put, which then frees. */
  dropReference(pfn: number): boolean {
    return Atomics.sub(this.words, pfn * WORDS + REFCOUNT, 1) === 1;
  }

  mapCount(pfn: number): number {
    return Atomics.load(this.words, pfn * WORDS + MAPCOUNT);
  }

  /** Nobody else refers to the frame: one reference, which is that of its only leaf. */
  isExclusive(pfn: number): boolean {
    return this.references(pfn) === 1 && this.mapCount(pfn) === 1;
  }

  addMapping(pfn: number): void {
    Atomics.add(this.words, pfn * WORDS + MAPCOUNT, 1);
  }

  dropMapping(pfn: number): void {
    Atomics.sub(this.words, pfn * WORDS + MAPCOUNT, 1);
  }

  mapping(pfn: number): number {
    return this.words[pfn * WORDS + MAPPING]!;
  }

  index(pfn: number): number {
    const at = pfn * WORDS;
    return join(this.words[at + INDEX_LO]!, this.words[at + INDEX_HI]!);
  }

  /** Says what the frame holds: page `index` of mapping `mapping`. */
  describe(pfn: number, flags: number, mapping: number, index: number): void {
    const at = pfn * WORDS;
    this.words[at + MAPPING] = mapping;
    this.words[at + INDEX_LO] = lowWord(index);
    this.words[at + INDEX_HI] = highWord(index);
    this.words[at + FLAGS] = flags;
  }

  /**
   * As `describe` and `addMapping` for `count` frames that nobody else can see yet: page `index` of the
   * mapping, and so on; all the same page where `step` is 0.
   */
  describeMapped(
    first: number,
    count: number,
    flags: number,
    mapping: number,
    index: number,
    step: number,
  ): void {
    const words = this.words;
    for (let page = 0, at = first * WORDS; page < count; page++, at += WORDS) {
      const pageIndex = index + page * step;
      words[at + MAPPING] = mapping;
      words[at + INDEX_LO] = lowWord(pageIndex);
      words[at + INDEX_HI] = highWord(pageIndex);
      words[at + FLAGS] = flags;
      words[at + MAPCOUNT] = 1;
    }
  }

  /** A fresh frame: nobody maps it, one reference. */
  reset(pfn: number): void {
    const at = pfn * WORDS;
    this.words[at + FLAGS] = 0;
    this.words[at + MAPCOUNT] = 0;
    this.words[at + MAPPING] = 0;
    this.words[at + INDEX_LO] = 0;
    this.words[at + INDEX_HI] = 0;
    this.words[at + NEXT] = 0;
    this.words[at + PREV] = 0;
    this.words[at + REFCOUNT] = 1; // published by whoever publishes the frame
  }

  /** The same for `count` frames from `first` on. */
  resetRun(first: number, count: number): void {
    const words = this.words;
    const end = (first + count) * WORDS;
    for (let at = first * WORDS; at < end; at += WORDS) {
      words[at + FLAGS] = 0;
      words[at + MAPCOUNT] = 0;
      words[at + MAPPING] = 0;
      words[at + INDEX_LO] = 0;
      words[at + INDEX_HI] = 0;
      words[at + NEXT] = 0;
      words[at + PREV] = 0;
      words[at + REFCOUNT] = 1;
    }
  }

  next(pfn: number): number {
    return this.words[pfn * WORDS + NEXT]!;
  }

  setNext(pfn: number, next: number): void {
    this.words[pfn * WORDS + NEXT] = next;
  }

  previous(pfn: number): number {
    return this.words[pfn * WORDS + PREV]!;
  }

  setPrevious(pfn: number, previous: number): void {
    this.words[pfn * WORDS + PREV] = previous;
  }

  /** Word of the page-table lock of a page-table page. */
  lockWord(pfn: number): number {
    return pfn * WORDS + NEXT;
  }
}
