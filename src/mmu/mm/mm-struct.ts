/**
 * The mm: one slot in the shared memory of the machine.
 *
 *   slot: | fields | mmap lock | LDT | VMA table |
 *
 * The fields keep the kernel's names (mm_types.h). A slot's life:
 *
 *   0 ──create (compare-exchange)──▶ NEW ──fields and pgd are set──▶ LIVE ──destroy──▶ 0
 *
 * GENERATION grows by one with every life of the slot, so that a handle to an earlier mm of the
 * slot is recognised.
 */
import { type Check, optional, unsigned64 } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { RW_LOCK_WORDS } from '../../shared/sync/rw-lock-layout.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';
import { VMA_TABLE_WORDS } from '../vma/vma-table.ts';

/** Words of the fields of an mm. MM_ADDRESS has those between NOTES_AT and MMAP_BASE. */
export const MM_FIELD = {
  STATE: 0, //        0, NEW, LIVE; Atomics only
  GENERATION: 1, //   Atomics only
  PGD: 2, //          pfn of the level-4 table; immutable while LIVE
  LDT_LOCK: 3, //     mutex word, rank LDT
  LDT_ENTRIES: 4, //  entries in use, 0 to 8192; protected by the LDT lock
  AUXV_BYTES: 5, //   length of the auxiliary vector; mmap lock
  AUXV_AT: 6, //      its place in the store, u64; mmap lock
  NOTES_BYTES: 8, //  length of the ELF notes; mmap lock
  NOTES_AT: 10, //    their place in the store, u64; mmap lock
  MMAP_BASE: 38, //   new mappings are placed downwards from this address, u64; mmap lock
  MARKERS: 40, //     1 once a guard marker was set in the mm; Atomics only, never reset
  DIRTY_INSTANT: 41, // counts how often dirty pages were taken; mmap lock
  SNAPSHOT: 42, //    1: the mm of a snapshot; immutable while LIVE
  BASE: 43, //        id of the snapshot to which protected tables are equal; mmap lock, write
  ADOPTED_SEEN: 44, // step at which adopted memory was looked at, or equal to a clone; mmap lock, write
  COUNTERS: 46, //    9 counters of page faults (`fault-log.ts`), u64 each; Atomics only
  WORDS: 64,
} as const;

/**
 * More words of MM_FIELD: the u64 fields that a dump stores and a restore sets, by their names;
 * mmap lock.
 */
export const MM_ADDRESS = {
  start_code: 12,
  end_code: 14,
  start_data: 16,
  end_data: 18,
  start_brk: 20,
  brk: 22,
  start_stack: 24,
  start_arg: 26,
  end_arg: 28,
  start_env: 30,
  end_env: 32,
  def_flags: 34,
  flags: 36,
} as const;

/** Name of a field of an mm that an image stores: the kernel's name for it (mm_types.h). */
export type MmAddressName = keyof typeof MM_ADDRESS;
/** The fields start_code to env_end, brk, def_flags and flags of an mm. Addresses are in bytes. */
export type MmAddresses = { readonly [name in MmAddressName]: number };

const ADDRESS: Check<number | undefined> = optional(unsigned64);
/** Checks for these fields; each of them may be left out. */
export const MM_ADDRESSES: Shape<Partial<MmAddresses>> = Object.fromEntries(
  Object.keys(MM_ADDRESS).map((name) => [name, ADDRESS]),
) as { readonly [name in MmAddressName]: Check<number> };

/** The most entries of an LDT (LDT_ENTRIES of the kernel): 8192 entries of 8 bytes. */
export const LDT_MAX_ENTRIES = 8192;

/** Words of a slot at which the mmap lock, the LDT and the VMA table begin. */
export const MM_LOCK_AT: number = MM_FIELD.WORDS;
export const LDT_AT: number = MM_LOCK_AT + RW_LOCK_WORDS;
export const VMA_TABLE_AT: number = LDT_AT + LDT_MAX_ENTRIES * 2;
/** Number of words of a slot, rounded up to whole pages. */
export const MM_WORDS: number = Math.ceil((VMA_TABLE_AT + VMA_TABLE_WORDS) / 1024) * 1024;

const { STATE, GENERATION } = MM_FIELD;
const NEW = 1;
const LIVE = 2;

/** Accessors of the fields in one slot, and the states of the slot. */
export class MmStruct {
  readonly words: Int32Array;
  readonly base: number;

  constructor(words: Int32Array, slot: number) {
    this.words = words;
    this.base = slot * MM_WORDS;
  }

  get(field: number): number {
    return this.words[this.base + field]!;
  }

  set(field: number, value: number): void {
    this.words[this.base + field] = value;
  }

  get64(field: number): number {
    return readU64(this.words, this.base + field);
  }

  set64(field: number, value: number): void {
    writeU64(this.words, this.base + field, value);
  }

  /** Makes a free slot NEW, which begins its next life. Returns false if the slot is not free. */
  claim(): boolean {
    if (Atomics.compareExchange(this.words, this.base + STATE, 0, NEW) !== 0) return false;
    Atomics.add(this.words, this.base + GENERATION, 1);
    return true;
  }

  /** Zeroes the LDT and all fields after the pgd and the LDT lock. Locks and VMA table stay. */
  clearFields(): void {
    this.words.fill(0, this.base + MM_FIELD.LDT_ENTRIES, this.base + MM_FIELD.WORDS);
    this.words.fill(0, this.base + LDT_AT, this.base + VMA_TABLE_AT);
  }

  /** Whether guard markers, behind which pages are hidden, were ever set in the mm. */
  get mayHaveMarkers(): boolean {
    return Atomics.load(this.words, this.base + MM_FIELD.MARKERS) !== 0;
  }

  /** Records that there may be guard markers in the mm from now on. */
  noteMarker(): void {
    Atomics.store(this.words, this.base + MM_FIELD.MARKERS, 1);
  }

  /** Whether it is the mm of a snapshot, which nobody changes and no list shows. */
  get isSnapshot(): boolean {
    return this.words[this.base + MM_FIELD.SNAPSHOT] !== 0;
  }

  /** Whether a snapshot was ever taken of the mm, so that page tables may be shared. */
  get mayShareTables(): boolean {
    return this.words[this.base + MM_FIELD.BASE] !== 0;
  }

  /** Adds 1 to a counter. Faults of several threads may count at the same time. */
  count(counter: number): void {
    const at = this.base + MM_FIELD.COUNTERS + counter * 2;
    if (Atomics.add(this.words, at, 1) === -1) Atomics.add(this.words, at + 1, 1);
  }

  /** The value of a counter. It may be behind while other threads count. */
  counted(counter: number): number {
    const at = this.base + MM_FIELD.COUNTERS + counter * 2;
    const high = Atomics.load(this.words, at + 1) >>> 0;
    return high * 2 ** 32 + (Atomics.load(this.words, at) >>> 0);
  }

  /** Makes a NEW mm LIVE. */
  publish(): void {
    Atomics.store(this.words, this.base + STATE, LIVE);
  }

  /** Frees the slot. A LIVE mm is freed under its mmap lock, held for writing. */
  vacate(): void {
    Atomics.store(this.words, this.base + STATE, 0);
  }

  get isLive(): boolean {
    return Atomics.load(this.words, this.base + STATE) === LIVE;
  }

  /**
   * Whether the slot is LIVE in its life `generation`. Plain loads suffice: the mmap lock is held
   * in either mode, and a LIVE slot is freed only while it is held for writing.
   */
  isLiveIn(generation: number): boolean {
    const { words, base } = this;
    return words[base + STATE] === LIVE && words[base + GENERATION] === generation;
  }

  get generation(): number {
    return Atomics.load(this.words, this.base + GENERATION);
  }

  /** The fields that an image stores. mmap lock held in either mode. */
  addresses(): MmAddresses {
    const values: Record<string, number> = {};
    for (const [name, at] of Object.entries(MM_ADDRESS)) values[name] = this.get64(at);
    return values as MmAddresses;
  }

  /** Sets the fields that are given. mmap lock held for writing. */
  setAddresses(values: Partial<MmAddresses>): void {
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined) this.set64(MM_ADDRESS[name as MmAddressName], value);
    }
  }
}
