/**
 * Reads the memory of a simulated machine from its raw words in the slowest, most obvious way, for
 * the reference dumper. The only part of the simulated kernel that it uses is the word layouts.
 */
import type { AddressSpace, Machine } from 'mmdump';
import {
  FILE_BACKING,
  FILE_KIND,
  FILE_RECORD,
  FILE_TABLE,
} from '../../../src/mmu/files/file-record.ts';
import { MM_FIELD, MM_WORDS, VMA_TABLE_AT } from '../../../src/mmu/mm/mm-struct.ts';
import { PAGE_STRUCT, PG } from '../../../src/mmu/physical/page-struct.ts';
import { VMA_RECORD, VMA_TABLE } from '../../../src/mmu/vma/vma-table.ts';

/** A mapping. Positions are page numbers. */
export interface ReferenceVma {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly pgoff: number;
  readonly isVdso: boolean;
  readonly file: ReferenceFile | null;
}

export interface ReferenceFile {
  readonly id: number;
  readonly isDeleted: boolean;
  readonly isMemoryBacked: boolean;
  /** The file is unreachable: a reader of an absent page is told so. */
  readonly isLost: boolean;
  readonly size: number;
  /** Raw bytes, without any suffix. */
  readonly path: Buffer;
  readonly cacheRoot: number;
  readonly cacheHeight: number;
}

const VM_MAYSHARE = 0x80;

export function isPrivate(vma: ReferenceVma): boolean {
  return (vma.flags & VM_MAYSHARE) === 0;
}

/** What the page tables say about one page. */
export type Translation =
  /** A table above is absent: nothing is mapped before page `next`. */
  | { readonly found: 'no table'; readonly next: number }
  | { readonly found: 'bad table' }
  /**
   * The page's own entry. For a 2 MiB leaf, which has PSE set, `pfn` is that of the 4 KiB page in
   * it.
   */
  | { readonly found: 'entry'; readonly entry: bigint; readonly pfn: number };

/** Bits of an x86-64 entry, numbered as in the manual; 8 and 9 as Linux uses them. */
const P = 1n << 0n;
const RW = 1n << 1n;
const US = 1n << 2n;
const A = 1n << 5n;
const D = 1n << 6n;
const PSE = 1n << 7n;
const PROT_NONE = 1n << 8n;
const SPECIAL = 1n << 9n;
const PFN = 0x000f_ffff_ffff_f000n;

export function isNone(entry: bigint): boolean {
  return (entry & 0xffff_ffffn) === 0n; // the low word is written last and cleared first
}

export function isPresent(entry: bigint): boolean {
  return (entry & (P | PROT_NONE)) !== 0n;
}

export function isWritable(entry: bigint): boolean {
  return (entry & RW) !== 0n;
}

export function isSpecial(entry: bigint): boolean {
  return (entry & SPECIAL) !== 0n;
}

/** Returns the marker value of an entry that is not present; null if it is a swap entry. */
export function markerOf(entry: bigint): number | null {
  return entry >> 59n === 31n ? Number((entry >> 12n) & 0xf_ffffn) : null;
}

/** Bits that are 0 in a swap entry: all but the bank (63 to 59), the slot (31 to 12), soft-dirty (1). */
const NOT_SWAP = 0x07ff_ffff_0000_0ffdn;
const BANK = 0x80000;

/**
 * For an entry that is not present, returns the number under which `frameBytes` finds the bytes of
 * its swap slot; null if it names no slot in use. Swap banks follow the frame banks.
 */
export function swapFrameOf(machine: Machine, entry: bigint): number | null {
  if ((entry & NOT_SWAP) !== 0n || entry >> 59n === 31n) return null;
  const inBank = Number((entry >> 12n) & 0xf_ffffn) - 1;
  if (inBank < 0 || inBank >= BANK) return null;
  const slot = Number(entry >> 59n) * BANK + inBank;
  const counts = new Int32Array(machine.handle.swapMap).subarray(16);
  return (counts[slot] ?? 0) > 0 ? machine.handle.banks.length * BANK + slot : null;
}

function pfnOf(entry: bigint): number {
  return Number((entry & PFN) >> 12n);
}

/** Returns the words of the frame's bank, and the position of the frame in it. */
export function wordsOf(machine: Machine, pfn: number): { words: Int32Array; at: number } {
  return { words: machine.parts.memory.words[pfn >>> 19]!, at: (pfn & 0x7ffff) << 10 };
}

export function isInMemory(machine: Machine, pfn: number): boolean {
  return pfn < machine.parts.memory.frames;
}

/** Reads entry `index` of a table: two 32-bit words, the low one first. */
export function readEntry(machine: Machine, table: number, index: number): bigint {
  const { words, at } = wordsOf(machine, table);
  const low = BigInt(words[at + index * 2]! >>> 0);
  const high = BigInt(words[at + index * 2 + 1]! >>> 0);
  return (high << 32n) | low;
}

export function pgdOf(machine: Machine, space: AddressSpace): number {
  return machine.parts.mmWords[space.reference.slot * MM_WORDS + MM_FIELD.PGD]!;
}

/** Walks the four levels, starting at the pgd. */
export function translate(machine: Machine, pgd: number, vpn: number): Translation {
  let table = pgd;
  for (const level of [4, 3, 2]) {
    const span = 512 ** (level - 1); // pages under one entry
    const entry = readEntry(machine, table, Math.floor(vpn / span) % 512);
    if (isNone(entry)) {
      return { found: 'no table', next: (Math.floor(vpn / span) + 1) * span };
    }
    if (level === 2 && (entry & PSE) !== 0n) {
      if (!isPresent(entry) || pfnOf(entry) % 512 !== 0) return { found: 'bad table' };
      return { found: 'entry', entry, pfn: pfnOf(entry) + (vpn % 512) };
    }
    if (isBadTableEntry(machine, entry)) return { found: 'bad table' };
    table = pfnOf(entry);
  }
  const entry = readEntry(machine, table, vpn % 512);
  return { found: 'entry', entry, pfn: pfnOf(entry) };
}

/** Linux's pmd_bad: the entry should lead to a table but does not, or has forbidden bits. */
function isBadTableEntry(machine: Machine, entry: bigint): boolean {
  if ((entry & P) === 0n) return true;
  if ((entry & ~(P | RW | US | A | D | PFN)) !== 0n) return true;
  const pfn = pfnOf(entry);
  return !isInMemory(machine, pfn) || (pageStruct(machine, pfn).flags & PG.TABLE) === 0;
}

export function pageStruct(machine: Machine, pfn: number): { flags: number; mapping: number } {
  const words = machine.parts.pages.words;
  const at = pfn * PAGE_STRUCT.WORDS;
  return { flags: words[at + PAGE_STRUCT.FLAGS]!, mapping: words[at + PAGE_STRUCT.MAPPING]! };
}

/** Returns the reference count of a frame, or of a swap slot numbered as by `swapFrameOf`. */
export function referencesTo(machine: Machine, frame: number): number {
  const firstSlot = machine.handle.banks.length * BANK;
  if (frame >= firstSlot) return new Int32Array(machine.handle.swapMap)[16 + frame - firstSlot]!;
  return machine.parts.pages.words[frame * PAGE_STRUCT.WORDS + PAGE_STRUCT.REFCOUNT]!;
}

/** A copy of the frame's 4096 bytes. */
export function frameBytes(machine: Machine, pfn: number): Buffer {
  const bytes = machine.parts.memory.bytes[pfn >>> 19]!;
  const at = (pfn & 0x7ffff) * 4096;
  return Buffer.from(bytes.slice(at, at + 4096));
}

/**
 * Returns the pfn of a file's page in the page cache, or 0. The cache is a tree of frames, each
 * with 1024 pfns.
 */
export function cachedPage(machine: Machine, file: ReferenceFile, index: number): number {
  if (file.cacheRoot === 0 || index >= 1024 ** file.cacheHeight) return 0;
  let node = file.cacheRoot;
  for (let height = file.cacheHeight; height > 0; height--) {
    const slot = Math.floor(index / 1024 ** (height - 1)) % 1024;
    const { words, at } = wordsOf(machine, node);
    node = words[at + slot]!;
    if (node === 0) return 0;
  }
  return node;
}

function u64(words: Int32Array, at: number): number {
  return (words[at]! >>> 0) + (words[at + 1]! >>> 0) * 2 ** 32;
}

function readFile(machine: Machine, id: number): ReferenceFile {
  const words = machine.parts.files.words;
  const at = FILE_TABLE.RECORDS + (id - 1) * FILE_RECORD.WORDS;
  const kind = words[at + FILE_RECORD.KIND]!;
  const pathAt = u64(words, at + FILE_RECORD.PATH_AT);
  const store = new Uint8Array(machine.handle.store);
  return {
    id,
    isDeleted: (kind & FILE_KIND.DELETED) !== 0,
    isMemoryBacked: (kind & FILE_KIND.MEMORY) !== 0,
    isLost: words[at + FILE_RECORD.BACKING] === FILE_BACKING.UNREACHABLE,
    size: u64(words, at + FILE_RECORD.SIZE),
    path: Buffer.from(store.slice(pathAt, pathAt + words[at + FILE_RECORD.PATH_BYTES]!)),
    cacheRoot: words[at + FILE_RECORD.CACHE_ROOT]!,
    cacheHeight: words[at + FILE_RECORD.CACHE_HEIGHT]!,
  };
}

/**
 * Returns all mappings in ascending order. Takes only the file's id from the table: `vmas()` gives
 * its path.
 */
export function readVmas(machine: Machine, space: AddressSpace): ReferenceVma[] {
  const words = machine.parts.mmWords;
  const table = space.reference.slot * MM_WORDS + VMA_TABLE_AT;
  return space.vmas().map((vma, ordinal) => {
    const slot = words[table + VMA_TABLE.ORDER + ordinal]!;
    const record = table + VMA_TABLE.RECORDS + slot * VMA_RECORD.WORDS;
    const file = words[record + VMA_RECORD.FILE]!;
    return {
      start: vma.start / 4096,
      end: vma.end / 4096,
      flags: vma.flags,
      pgoff: vma.pgoff,
      isVdso: vma.isVdso,
      file: file === 0 ? null : readFile(machine, file),
    };
  });
}

/** Maps a page that belongs to the kernel: neither anonymous nor a file's. */
export function makeKernelPage(machine: Machine, space: AddressSpace, vpn: number): void {
  const translation = translate(machine, pgdOf(machine, space), vpn);
  if (translation.found !== 'entry') return;
  const at = translation.pfn * PAGE_STRUCT.WORDS;
  machine.parts.pages.words[at + PAGE_STRUCT.FLAGS] = 0;
  machine.parts.pages.words[at + PAGE_STRUCT.MAPPING] = 0;
}

/** Returns the address of the page that a step names, or null if nothing is mapped there. */
export function addressOfSpot(space: AddressSpace, vma: number, page: number): number | null {
  const vmas = space.vmas();
  const found = vmas[vma % Math.max(1, vmas.length)];
  if (found === undefined) return null;
  const length = (found.end - found.start) / 4096;
  return found.start + (((page % length) + length) % length) * 4096;
}
