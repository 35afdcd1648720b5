/**
 * The mm: one slot of the machine's mm area, all of it shared memory.
 *
 *   slot: | fields | mmap lock | LDT | VMA table |
 *
 * The fields keep the kernel's names (mm_types.h). A slot's life:
 *
 *   0 ──create (compare-exchange)──▶ NEW ──fields and pgd are set──▶ LIVE ──destroy──▶ 0
 *
 * GENERATION grows with every life of the slot, so that a handle to an earlier mm is told apart.
 */
import { type Check, optional, unsigned64 } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { RW_LOCK_WORDS } from '../../shared/sync/rw-lock.ts';
import { readU64, writeU64 } from '../../shared/u64.ts';
import { VMA_TABLE_WORDS } from '../vma/vma-table.ts';

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
  MMAP_BASE: 38, //   below this address new mappings are placed, downwards, u64; mmap lock
  MARKERS: 40, //     1 once a guard marker was set somewhere; Atomics only, never reset
  WORDS: 64,
} as const;

/** The u64 fields that a dump stores and a restore sets, by their names in the image; mmap lock. */
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

/** The fields of an mm that an image stores, by the kernel's names (mm_types.h). */
export type MmAddressName = keyof typeof MM_ADDRESS;
/** start_code to env_end, brk, def_flags and flags of an mm; addresses in bytes. */
export type MmAddresses = { readonly [name in MmAddressName]: number };

const ADDRESS: Check<number | undefined> = optional(unsigned64);
export const MM_ADDRESSES: Shape<Partial<MmAddresses>> = Object.fromEntries(
  Object.keys(MM_ADDRESS).map((name) => [name, ADDRESS]),
) as { readonly [name in MmAddressName]: Check<number> };

/** LDT_ENTRIES of the kernel: 8192 entries of 8 bytes. */
export const LDT_MAX_ENTRIES = 8192;

export const MM_LOCK_AT: number = MM_FIELD.WORDS;
export const LDT_AT: number = MM_LOCK_AT + RW_LOCK_WORDS;
export const VMA_TABLE_AT: number = LDT_AT + LDT_MAX_ENTRIES * 2;
/** Words of a slot, rounded up to whole pages. */
export const MM_WORDS: number = Math.ceil((VMA_TABLE_AT + VMA_TABLE_WORDS) / 1024) * 1024;

const { STATE, GENERATION } = MM_FIELD;
const NEW = 1;
const LIVE = 2;

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

  /** Takes a free slot for a new mm. */
  claim(): boolean {
    if (Atomics.compareExchange(this.words, this.base + STATE, 0, NEW) !== 0) return false;
    Atomics.add(this.words, this.base + GENERATION, 1);
    return true;
  }

  /** Zeroes everything but the state, the generation and the pgd. */
  clearFields(): void {
    this.words.fill(0, this.base + MM_FIELD.LDT_ENTRIES, this.base + MM_FIELD.WORDS);
    this.words.fill(0, this.base + LDT_AT, this.base + VMA_TABLE_AT);
  }

  /** Whether any page may be hidden behind a guard marker. */
  get mayHaveMarkers(): boolean {
    return Atomics.load(this.words, this.base + MM_FIELD.MARKERS) !== 0;
  }

  noteMarker(): void {
    Atomics.store(this.words, this.base + MM_FIELD.MARKERS, 1);
  }

  publish(): void {
    Atomics.store(this.words, this.base + STATE, LIVE);
  }

  vacate(): void {
    Atomics.store(this.words, this.base + STATE, 0);
  }

  get isLive(): boolean {
    return Atomics.load(this.words, this.base + STATE) === LIVE;
  }

  /** isLive, of this life. The mmap lock is held: a slot changes hands only under it. */
  isLiveLocked(generation: number): boolean {
    const { words, base } = this;
    return words[base + STATE] === LIVE && words[base + GENERATION] === generation;
  }

  get generation(): number {
    return Atomics.load(this.words, this.base + GENERATION);
  }

  addresses(): MmAddresses {
    const values: Record<string, number> = {};
    for (const [name, at] of Object.entries(MM_ADDRESS)) values[name] = this.get64(at);
    return values as MmAddresses;
  }

  /** Sets those that are given. */
  setAddresses(values: Partial<MmAddresses>): void {
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined) this.set64(MM_ADDRESS[name as MmAddressName], value);
    }
  }
}
