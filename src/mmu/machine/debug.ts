/**
 * The debug interface: reading page tables and page structs, and damaging them on purpose. It is
 * for tests, lessons and simulators that need states which no system call leads to. What is written
 * is not checked. Dumps, faults and `munmap` must cope with such states, and report what is wrong.
 */
import {
  type Check,
  instanceOf,
  list,
  number,
  oneOf,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { hex, TASK_PAGES, vpnOf } from '../../shared/page.ts';
import { endDirtyPeriod } from '../calls/dirty.ts';
import { noteGuards } from '../fault/guard.ts';
import { holdGate } from '../mm/hold.ts';
import { type PageStructs, PG } from '../physical/page-struct.ts';
import { lockTable, unlockTable, walk } from '../tables/page-table.ts';
import { pfnOf, replaceEntry } from '../tables/pte.ts';
import { openTable } from '../tables/shared-table.ts';
import { AddressSpace } from './address-space.ts';
import { runOn } from './enter.ts';
import { Machine } from './machine.ts';

/** An x86-64 page-table entry. */
export interface PteInfo {
  /**
   * Level of the table that holds the entry: 1 for a PTE, 2 for a 2 MiB leaf. It is 2 to 4 also
   * where the walk ended early, at an entry that is empty or damaged.
   */
  readonly level: number;
  /** Bits 0 to 31 of the entry, unsigned. */
  readonly low: number;
  /** Bits 32 to 63 of the entry, unsigned. */
  readonly high: number;
  /** The pfn bits of the entry. They mean nothing if the entry is not present. */
  readonly pfn: number;
}

/** The contents of a page struct (struct page). */
export interface PageStructInfo {
  /** The PG_* flags that are set. */
  readonly flags: readonly PageFlag[];
  /** Number of references to the frame: from page-table entries, the page cache and dumps. */
  readonly references: number;
  /** Number of leaves that map the frame. A huge leaf counts in each of its 512 frames. */
  readonly mapCount: number;
  /** File id, or anon_vma id if the page is anonymous; 0 = none. */
  readonly mapping: number;
  /** Index of the page in the file, or in the anonymous space; in pages. */
  readonly index: number;
}

/** The PG_* flags of page structs, in lower case. */
export type PageFlag =
  | 'reserved'
  | 'anon'
  | 'swapbacked'
  | 'ksm'
  | 'table'
  | 'buddy'
  | 'huge'
  | 'cache_node'
  | 'stale'
  | 'dirty'
  | 'zero'
  | 'lazyfree'
  | 'backed'
  | 'adopted';

const FLAG_BITS = Object.entries(PG).map(
  ([name, bit]) => [name.toLowerCase() as PageFlag, bit] as const,
);

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');
const MACHINE = instanceOf(Machine, 'a Machine');
const WORD = wholeNumber(0, 0xffff_ffff);

/** The level and the new words of the entry that `writePte` overwrites. */
export type PteWords = Pick<PteInfo, 'level' | 'low' | 'high'>;
/** The fields of a page struct that `writePageStruct` changes. */
export type PageStructChanges = Partial<Pick<PageStructInfo, 'flags' | 'mapping' | 'index'>>;

/**
 * A result of `readPte` is accepted, too. Its `pfn` is ignored, since it follows from the words.
 */
const PTE_WORDS: Shape<PteWords & { readonly pfn?: number }> = {
  level: wholeNumber(1, 4),
  low: WORD,
  high: WORD,
  pfn: optional(number) as Check<number>,
};
const CHANGES: Shape<PageStructChanges> = {
  flags: optional(list(oneOf(FLAG_BITS.map(([name]) => name)))) as Check<readonly PageFlag[]>,
  mapping: optional(wholeNumber(0, 0x7fff_ffff)) as Check<number>,
  index: optional(wholeNumber(0)) as Check<number>,
};

/**
 * Returns the last page-table entry on the walk to `address`. Throws EINVAL for an address beyond
 * user space, and EAGAIN if the mm is busy and this thread must not block.
 */
export function readPte(space: AddressSpace, address: number): PteInfo {
  SPACE('space', space);
  number('address', address);
  return runOn(space.mm, space.reference, 'read', (mm) => {
    walk(mm, mm.pgd, pageOf(address), mm.cursor);
    const { words, at, level } = mm.cursor;
    const low = words[at]!;
    const high = words[at + 1]!;
    return { level, low: low >>> 0, high: high >>> 0, pfn: pfnOf(low, high) };
  });
}

/**
 * Overwrites the page-table entry of level `words.level` on the walk to `address`. This is the
 * entry that `readPte` returns, or one above it. No count changes. Throws EINVAL if the walk ends
 * above that level or the address is beyond user space, and EAGAIN if the mm is busy and this
 * thread must not block.
 */
export function writePte(space: AddressSpace, address: number, words: PteWords): void {
  SPACE('space', space);
  number('address', address);
  const { level, low, high } = optionsOf('writePte', words, PTE_WORDS);
  runOn(space.mm, space.reference, 'write', (mm) => {
    const { cursor } = mm;
    walk(mm, mm.pgd, pageOf(address), cursor, level);
    if (cursor.level !== level) {
      throw new MmdumpError('EINVAL', `the walk to ${hex(address)} ends at level ${cursor.level}`);
    }
    if (level === 1) openTable(mm, pageOf(address), cursor);
    const slot = mm.vmas.lookup(pageOf(address));
    if (slot >= 0) noteGuards(mm, slot); // the new entry may be a guard marker
    lockTable(mm, cursor.table);
    replaceEntry(cursor.words, cursor.at, low | 0, high | 0);
    endDirtyPeriod(mm); // no bit tells what the entry shows now
    unlockTable(mm, cursor.table);
  });
}

function pageOf(address: number): number {
  if (Number.isSafeInteger(address) && address >= 0 && vpnOf(address) <= TASK_PAGES) {
    return vpnOf(address);
  }
  throw new MmdumpError('EINVAL', `${address} is not an address of user space`);
}

/** Returns the page struct of a frame. Throws EINVAL for a frame that the machine does not have. */
export function readPageStruct(machine: Machine, pfn: number): PageStructInfo {
  MACHINE('machine', machine);
  assertFrame(machine, pfn);
  return pageStructOf(machine.parts.pages, pfn);
}

/** The contents of the page struct of a frame that exists. */
export function pageStructOf(pages: PageStructs, pfn: number): PageStructInfo {
  const flags = pages.flags(pfn);
  return {
    flags: FLAG_BITS.filter(([, bit]) => (flags & bit) !== 0).map(([name]) => name),
    references: pages.references(pfn),
    mapCount: pages.mapCount(pfn),
    mapping: pages.mapping(pfn),
    index: pages.index(pfn),
  };
}

/**
 * Overwrites fields of a page struct; fields that are left out and the two counts stay as they are.
 * Throws EINVAL for a frame that the machine does not have, and EAGAIN if the machine is frozen and
 * this thread must not block.
 */
export function writePageStruct(machine: Machine, pfn: number, changes: PageStructChanges): void {
  readPageStruct(machine, pfn); // checks both arguments
  const checked = optionsOf('writePageStruct', changes, CHANGES);
  const { parts } = machine;
  holdGate(parts, parts.thread, () => {
    const before = readPageStruct(machine, pfn);
    const { flags = before.flags, mapping = before.mapping, index = before.index } = checked;
    const wanted = new Set(flags);
    const bits = FLAG_BITS.reduce((sum, [name, bit]) => sum | (wanted.has(name) ? bit : 0), 0);
    parts.pages.describe(pfn, bits, mapping, index);
  });
}

function assertFrame(machine: Machine, pfn: number): void {
  const { memory } = machine.parts;
  if (Number.isInteger(number('pfn', pfn)) && pfn >= 0 && memory.has(pfn)) return;
  const frames = memory.ownFrames;
  throw new MmdumpError('EINVAL', `${pfn} is not a frame: the machine has ${frames} frames`);
}
