/**
 * Page structs (struct page): 32 bytes per frame, in a SharedArrayBuffer of their own.
 *
 * REFCOUNT counts what keeps the frame: one reference per PTE that maps it, one of the page cache
 * that holds it, one per pin; a page table has one of the entry that points to it. At 0 references
 * the frame is freed. MAPCOUNT counts the PTEs of user space that map the frame. A 2 MiB leaf
 * counts once in each of its 512 frames, so splitting it changes no count.
 */
import { highWord, join, lowWord } from '../../shared/u64.ts';

/**
 * Words of a page struct. The meaning of NEXT and PREV depends on the use of the frame:
 *
 *   use               NEXT                           PREV
 *   free block        next block of the same order   previous block      both: allocator lock
 *   page table        its page-table lock            level, 1 (PTEs) to 4, immutable after init
 *   page-cache node   –                              entries in use, file lock
 *   anonymous page    low word of its origin         high word of its origin, or both 0
 *   … of a snapshot   the adopted frame it copies    0
 *   adopted page      when it changed                0   (`adopted-marks.ts`)
 *
 * The origin of an anonymous page is the backed entry from which it was loaded, as long as nobody
 * has written to it. All leaves of such a page are read-only and clean. The origin is written before
 * the frame is mapped, and forgotten by the thread that has the page-table lock of its only leaf.
 */
export const PAGE_STRUCT = {
  FLAGS: 0, //    PG bits; set by the allocating thread before it is mapped; then Atomics only
  REFCOUNT: 1, // Atomics only
  MAPCOUNT: 2, // Atomics only
  MAPPING: 3, //  file id, or anon_vma id if PG.ANON; 0 = none; immutable while referenced
  INDEX_LO: 4, // page of the file; if PG.ANON, the page by the PGOFF of its VMA (linear_page_index)
  INDEX_HI: 5, // … high word
  NEXT: 6, //     see above
  PREV: 7, //     see above
  WORDS: 8, //    stride
} as const;

/** Bits of the flags of a page struct. */
export const PG = {
  RESERVED: 0x1, //    not counted and never freed: frame 0, the zero pages, device memory
  ANON: 0x2, //        PageAnon
  SWAPBACKED: 0x4, //  anonymous or shmem
  KSM: 0x8, //         merged by content
  TABLE: 0x10, //      a page table
  BUDDY: 0x20, //      first frame of a free block; ORDER_SHIFT says where its order is
  HUGE: 0x40, //       allocated as one of the 512 frames of a 2 MiB page
  CACHE_NODE: 0x80, // a node of a page-cache tree
  STALE: 0x100, //     was used before, so its bytes may not be zero
  DIRTY: 0x200, //     a file's page that was written and is not in its backing store yet
  ZERO: 0x400, //      the zero page, or a frame of the huge zero page; RESERVED as well
  LAZYFREE: 0x800, //  MADV_FREE: reclaim may drop the page while its leaf is clean
  ADOPTED: 0x1000, //  memory of the caller: never handed out, freed, copied on write or reclaimed
} as const;

/** Where the order of a free block lies in the flags of its first frame: bits 24 to 27. */
export const ORDER_SHIFT = 24;
export const ORDER_MASK = 0xf;

/** Frame 0 is never used, so that 0 can mean "none". Frame 1 is the zero page, PG.ZERO. */
export const ZERO_PAGE_PFN = 1;
/** The frames from here to the device memory belong to the allocator. */
export const FIRST_FREE_PFN = 2;

const { FLAGS, REFCOUNT, MAPCOUNT, MAPPING, INDEX_LO, INDEX_HI, NEXT, PREV, WORDS } = PAGE_STRUCT;

/** The page structs of a machine, by pfn. */
export class PageStructs {
  /** Hot loops index these words with PAGE_STRUCT. All other code uses the accessors. */
  words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /** Drops the view once the machine is closed. No method may be called afterwards. */
  dropViews(): void {
    this.words = new Int32Array();
  }

  flags(pfn: number): number {
    return this.words[pfn * WORDS + FLAGS]!;
  }

  /**
   * Sets all flags with a plain store. The frame is free (allocator lock held), or no other thread
   * uses it yet.
   */
  setFlags(pfn: number, flags: number): void {
    this.words[pfn * WORDS + FLAGS] = flags;
  }

  /** Sets some flags of a frame in use. */
  addFlags(pfn: number, flags: number): void {
    Atomics.or(this.words, pfn * WORDS + FLAGS, flags);
  }

  /** Clears some flags of a frame in use. */
  clearFlags(pfn: number, flags: number): void {
    Atomics.and(this.words, pfn * WORDS + FLAGS, ~flags);
  }

  references(pfn: number): number {
    return Atomics.load(this.words, pfn * WORDS + REFCOUNT);
  }

  /**
   * Whether the frame has no references. A plain load: the caller has just dropped the last one, so
   * no other thread changes the count.
   */
  isUnreferenced(pfn: number): boolean {
    return this.words[pfn * WORDS + REFCOUNT] === 0;
  }

  /** Takes one more reference (get_page). */
  get(pfn: number): void {
    Atomics.add(this.words, pfn * WORDS + REFCOUNT, 1);
  }

  /**
   * Drops a reference and returns whether it was the last one (put_page_testzero). Use
   * FrameAllocator.put instead, which also frees the frame.
   */
  dropReference(pfn: number): boolean {
    return Atomics.sub(this.words, pfn * WORDS + REFCOUNT, 1) === 1;
  }

  mapCount(pfn: number): number {
    return Atomics.load(this.words, pfn * WORDS + MAPCOUNT);
  }

  /** Whether the frame has a single reference, which is that of the only PTE that maps it. */
  isExclusive(pfn: number): boolean {
    return this.references(pfn) === 1 && this.mapCount(pfn) === 1;
  }

  /** Counts one more PTE that maps the frame. */
  addMapping(pfn: number): void {
    Atomics.add(this.words, pfn * WORDS + MAPCOUNT, 1);
  }

  /** Counts one PTE fewer that maps the frame. */
  dropMapping(pfn: number): void {
    Atomics.sub(this.words, pfn * WORDS + MAPCOUNT, 1);
  }

  /** Id of the file whose page the frame holds, or of the anon_vma if PG.ANON; 0 = none. */
  mapping(pfn: number): number {
    return this.words[pfn * WORDS + MAPPING]!;
  }

  /** Index of the page in its mapping, in pages. */
  index(pfn: number): number {
    const at = pfn * WORDS;
    return join(this.words[at + INDEX_LO]!, this.words[at + INDEX_HI]!);
  }

  /**
   * Records what the frame holds: page `index` of mapping `mapping`. Plain stores: no other thread
   * uses the frame yet.
   */
  describe(pfn: number, flags: number, mapping: number, index: number): void {
    const at = pfn * WORDS;
    this.words[at + MAPPING] = mapping;
    this.words[at + INDEX_LO] = lowWord(index);
    this.words[at + INDEX_HI] = highWord(index);
    this.words[at + FLAGS] = flags;
  }

  /**
   * Does what `describe` and `addMapping` do, for `count` fresh frames that no other thread uses
   * yet. Frame first + n holds page index + n * step of the mapping, so with a `step` of 0 all
   * frames get the same index.
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

  /** Initialises the page struct of an allocated frame: one reference, not mapped, no flags. */
  reset(pfn: number): void {
    const at = pfn * WORDS;
    this.words[at + FLAGS] = 0;
    this.words[at + MAPCOUNT] = 0;
    this.words[at + MAPPING] = 0;
    this.words[at + INDEX_LO] = 0;
    this.words[at + INDEX_HI] = 0;
    this.words[at + NEXT] = 0;
    this.words[at + PREV] = 0;
    this.words[at + REFCOUNT] = 1; // a plain store: what publishes the frame publishes this, too
  }

  /** Does what `reset` does, for the `count` frames from `first` on. */
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

  /** NEXT of the frame; PAGE_STRUCT says what it means. */
  next(pfn: number): number {
    return this.words[pfn * WORDS + NEXT]!;
  }

  setNext(pfn: number, next: number): void {
    this.words[pfn * WORDS + NEXT] = next;
  }

  /** As `setNext`, and in the order of what other threads do with the counts of the frame. */
  storeNext(pfn: number, next: number): void {
    Atomics.store(this.words, pfn * WORDS + NEXT, next);
  }

  /** PREV of the frame; PAGE_STRUCT says what it means. */
  previous(pfn: number): number {
    return this.words[pfn * WORDS + PREV]!;
  }

  setPrevious(pfn: number, previous: number): void {
    this.words[pfn * WORDS + PREV] = previous;
  }

  /** Low word of the origin of an anonymous page. Only valid if the high word is not 0. */
  originLow(pfn: number): number {
    return this.words[pfn * WORDS + NEXT]!;
  }

  /** High word of the origin of an anonymous page, or 0 if it has none. */
  originHigh(pfn: number): number {
    return this.words[pfn * WORDS + PREV]!;
  }

  /**
   * Records from which backed entry an anonymous page was loaded, or forgets it if both are 0. See
   * PAGE_STRUCT.
   */
  setOrigin(pfn: number, low: number, high: number): void {
    this.words[pfn * WORDS + NEXT] = low;
    this.words[pfn * WORDS + PREV] = high;
  }

  /** Index in `words` of the page-table lock of a page table. */
  lockWord(pfn: number): number {
    return pfn * WORDS + NEXT;
  }
}
