/**
 * The VMAs of an mm: records in slots, and a sorted index of the slots.
 *
 *   ORDER   | 7 | 2 | 9 | …         slots by ascending address: an insertion moves 4 bytes per VMA
 *   RECORDS | slot 0 | slot 1 | …   a VMA keeps its slot for life
 *
 * The mmap lock protects the table: it is held for writing to change the table, and in either mode
 * to read it. ANON_VMA and GUARDED are exceptions: they change by Atomics under the lock in either
 * mode. VMAs are disjoint and not empty. An `ordinal` is a position in ORDER.
 */
import { flag, optional, unsigned64, wholeNumber } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { assert } from '../../shared/assert.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { TASK_PAGES, type Vpn } from '../../shared/page.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';

/** The most VMAs that an mm can have (sysctl vm.max_map_count). */
export const MAX_MAP_COUNT = 65_530;
const SLOTS = 65_536;

/** Words of the record of a VMA. */
export const VMA_RECORD = {
  START: 0, //    first page, u64 in two words
  END: 2, //      first page after it, u64
  FLAGS: 4, //    VM_*
  FILE: 5, //     file id, 0 = none
  PGOFF: 6, //    page of the file at START, u64; private anonymous memory: START as it was mapped
  ANON_VMA: 8, // id, 0 until the first anonymous page; Atomics only: faults set it
  KIND: 9, //     VMA_KIND
  NEXT_FREE: 10, // in a free slot: the next free slot, plus 1; 0 = end
  GUARDED: 12, //  1: guard markers were set in it (VM_MAYBE_GUARD); Atomics only: set under read
  FORKED: 11, //   1: the anon_vma was inherited by fork, its chain is not singular (`anon-vma.ts`)
  CLEAN: 13, //    0: VM_SOFTDIRTY, so all of its pages are dirty; 1: their entries say which are
  WORDS: 16, //   64 bytes
} as const;

/** Values of KIND: what a VMA is, beyond its flags. */
export const VMA_KIND = { ORDINARY: 0, VDSO: 1 } as const;

/** Words of the table of an mm. */
export const VMA_TABLE = {
  COUNT: 0, //     VMAs in the index
  USED: 1, //      slots ever used
  FREE: 2, //      first free slot, plus 1; 0 = none
  ORDER: 16, //    65_536 words (SLOTS)
  RECORDS: 65_552, // SLOTS records
} as const;

const { START, END, FLAGS, FILE, PGOFF, ANON_VMA, KIND, NEXT_FREE, FORKED, GUARDED, CLEAN, WORDS } =
  VMA_RECORD;
const { COUNT, USED, FREE, ORDER, RECORDS } = VMA_TABLE;

/** Number of words of the table of an mm. */
export const VMA_TABLE_WORDS: number = RECORDS + SLOTS * WORDS;

/** The fields of a VMA. */
export interface VmaFields {
  readonly start: number; // page
  readonly end: number; //   page
  readonly flags: number;
  readonly file: number;
  readonly pgoff: number;
  readonly anonVma: number;
  readonly kind: number;
  /** Whether the anon_vma was inherited by fork. Default false. */
  readonly isForked?: boolean | undefined;
  /** Whether there may be guard markers in it. Default false. */
  readonly isGuarded?: boolean | undefined;
  /** Whether it was there when dirty pages were last taken (no VM_SOFTDIRTY). Default false. */
  readonly isClean?: boolean | undefined;
}

/** Checks for the fields of a VMA that a caller supplies. */
export const VMA_FIELDS: Shape<VmaFields> = {
  start: wholeNumber(0, TASK_PAGES - 1),
  end: wholeNumber(1, TASK_PAGES),
  flags: unsigned64,
  file: wholeNumber(0, 0x7fff_ffff),
  pgoff: unsigned64,
  anonVma: wholeNumber(0, 0x7fff_ffff),
  kind: wholeNumber(VMA_KIND.ORDINARY, VMA_KIND.VDSO),
  isForked: optional(flag),
  isGuarded: optional(flag),
  isClean: optional(flag),
};

/** Accessors of the VMA table of one mm. Addresses are page numbers. */
export class VmaTable {
  readonly #words: Int32Array;
  readonly #base: number;

  constructor(words: Int32Array, base: number) {
    this.#words = words;
    this.#base = base;
  }

  /** Number of VMAs. */
  get count(): number {
    return this.#words[this.#base + COUNT]!;
  }

  /** Empties the table. */
  clear(): void {
    this.#words[this.#base + COUNT] = 0;
    this.#words[this.#base + USED] = 0;
    this.#words[this.#base + FREE] = 0;
  }

  /** Slot of the VMA at position `ordinal` of the index. */
  slot(ordinal: number): number {
    return this.#words[this.#base + ORDER + ordinal]!;
  }

  /** Position of the first VMA that ends after `vpn` (find_vma); `count` when there is none. */
  find(vpn: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.end(this.slot(middle)) > vpn) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Slot of the VMA that holds `vpn`, or -1. */
  lookup(vpn: number): number {
    const ordinal = this.find(vpn);
    if (ordinal === this.count) return -1;
    const slot = this.slot(ordinal);
    return this.start(slot) <= vpn ? slot : -1;
  }

  start(slot: number): Vpn {
    return readU64(this.#words, this.#record(slot) + START) as Vpn;
  }

  end(slot: number): Vpn {
    return readU64(this.#words, this.#record(slot) + END) as Vpn;
  }

  flags(slot: number): number {
    return this.#words[this.#record(slot) + FLAGS]! >>> 0;
  }

  file(slot: number): number {
    return this.#words[this.#record(slot) + FILE]!;
  }

  pgoff(slot: number): number {
    return readU64(this.#words, this.#record(slot) + PGOFF);
  }

  anonVma(slot: number): number {
    return Atomics.load(this.#words, this.#record(slot) + ANON_VMA);
  }

  kind(slot: number): number {
    return this.#words[this.#record(slot) + KIND]!;
  }

  /** Whether the anon_vma was inherited by fork, so that the VMA merges with fewer others. */
  isForked(slot: number): boolean {
    return this.#words[this.#record(slot) + FORKED] !== 0;
  }

  /** Whether guard markers were ever set in it. If so, fork copies its tables. */
  isGuarded(slot: number): boolean {
    return Atomics.load(this.#words, this.#record(slot) + GUARDED) !== 0;
  }

  /** Records that there may be guard markers in the VMA from now on. */
  noteGuard(slot: number): void {
    Atomics.store(this.#words, this.#record(slot) + GUARDED, 1);
  }

  /** Whether its entries say which of its pages are dirty. If not, all of them are. */
  isClean(slot: number): boolean {
    return this.#words[this.#record(slot) + CLEAN] !== 0;
  }

  /** Sets or clears what `isClean` tells. The mmap lock is held for writing. */
  setClean(slot: number, isClean: boolean): void {
    this.#words[this.#record(slot) + CLEAN] = isClean ? 1 : 0;
  }

  /** A copy of all fields of a VMA. */
  fields(slot: number): VmaFields {
    return {
      start: this.start(slot),
      end: this.end(slot),
      flags: this.flags(slot),
      file: this.file(slot),
      pgoff: this.pgoff(slot),
      anonVma: this.anonVma(slot),
      kind: this.kind(slot),
      isForked: this.isForked(slot),
      isGuarded: this.isGuarded(slot),
      isClean: this.isClean(slot),
    };
  }

  /** Index of page `vpn` in the file or, for anonymous memory, by PGOFF (linear_page_index). */
  fileIndex(slot: number, vpn: number): number {
    return this.pgoff(slot) + (vpn - this.start(slot));
  }

  setStart(slot: number, vpn: number): void {
    writeU64(this.#words, this.#record(slot) + START, vpn);
  }

  setEnd(slot: number, vpn: number): void {
    writeU64(this.#words, this.#record(slot) + END, vpn);
  }

  setPgoff(slot: number, pgoff: number): void {
    writeU64(this.#words, this.#record(slot) + PGOFF, pgoff);
  }

  setFlags(slot: number, flags: number): void {
    this.#words[this.#record(slot) + FLAGS] = flags | 0;
  }

  /** Sets the anon_vma unless another fault was faster, and returns the one that is set then. */
  adoptAnonVma(slot: number, id: number): number {
    const at = this.#record(slot) + ANON_VMA;
    const before = Atomics.compareExchange(this.#words, at, 0, id);
    return before === 0 ? id : before;
  }

  /** Sets the anon_vma in any case. The mmap lock is held for writing. */
  setAnonVma(slot: number, id: number, isForked: boolean): void {
    this.#words[this.#record(slot) + FORKED] = isForked ? 1 : 0;
    Atomics.store(this.#words, this.#record(slot) + ANON_VMA, id);
  }

  /**
   * Adds a VMA and returns its slot. Throws ENOMEM when there are too many VMAs. The caller has
   * made sure that its place is free. The mmap lock is held for writing.
   */
  insert(vma: VmaFields): number {
    const words = this.#words;
    const count = this.count;
    if (count >= MAX_MAP_COUNT) {
      throw new MmdumpError('ENOMEM', `an mm has at most ${MAX_MAP_COUNT} mappings`);
    }
    const ordinal = this.find(vma.start);
    assert(
      ordinal === count || this.start(this.slot(ordinal)) >= vma.end,
      'a new VMA overlaps one that is there',
    );
    const slot = this.#allocateSlot();
    const record = this.#record(slot);
    writeU64(words, record + START, vma.start);
    writeU64(words, record + END, vma.end);
    writeU64(words, record + PGOFF, vma.pgoff);
    words[record + FLAGS] = vma.flags | 0;
    words[record + FILE] = vma.file;
    words[record + KIND] = vma.kind;
    words[record + FORKED] = vma.isForked === true ? 1 : 0;
    words[record + CLEAN] = vma.isClean === true ? 1 : 0;
    Atomics.store(words, record + GUARDED, vma.isGuarded === true ? 1 : 0);
    Atomics.store(words, record + ANON_VMA, vma.anonVma);
    const at = this.#base + ORDER + ordinal;
    // Not copyWithin(): in shared memory it takes V8 five times as long as this loop.
    for (let to = this.#base + ORDER + count; to > at; to--) words[to] = words[to - 1]!;
    words[at] = slot;
    words[this.#base + COUNT] = count + 1;
    return slot;
  }

  /** Removes `removed` VMAs from position `ordinal` on. The mmap lock is held for writing. */
  remove(ordinal: number, removed = 1): void {
    const words = this.#words;
    const count = this.count;
    for (let at = ordinal; at < ordinal + removed; at++) {
      const slot = this.slot(at);
      words[this.#record(slot) + NEXT_FREE] = words[this.#base + FREE]!;
      words[this.#base + FREE] = slot + 1;
    }
    const at = this.#base + ORDER + ordinal;
    const last = this.#base + ORDER + count - removed;
    for (let to = at; to < last; to++) words[to] = words[to + removed]!;
    words[this.#base + COUNT] = count - removed;
  }

  #record(slot: number): number {
    return this.#base + RECORDS + slot * WORDS;
  }

  #allocateSlot(): number {
    const words = this.#words;
    const free = words[this.#base + FREE]!;
    if (free !== 0) {
      words[this.#base + FREE] = words[this.#record(free - 1) + NEXT_FREE]!;
      return free - 1;
    }
    const used = words[this.#base + USED]!;
    assert(used < SLOTS, 'the slots outnumber the map limit');
    words[this.#base + USED] = used + 1;
    return used;
  }
}
