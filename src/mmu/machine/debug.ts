/**
 * Looking at page tables and page structs, and damaging them on purpose: for tests, lessons and
 * simulators that have states to set up which no system call leads to. What is written is not
 * checked: a dump, a fault and `munmap` have to live with it, and say what is wrong.
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
import { noteGuards } from '../fault/guard.ts';
import { holdGate } from '../mm/hold.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, unlockTable, walk } from '../tables/page-table.ts';
import { pfnOf, replaceEntry } from '../tables/pte.ts';
import { AddressSpace } from './address-space.ts';
import { runOn } from './enter.ts';
import { Machine } from './machine.ts';

/** An entry of a page table of x86-64. */
export interface PteInfo {
  /** 1 for the page's own entry, 2 for a 2 MiB leaf; higher when nothing is below. */
  readonly level: number;
  /** Bits 0 to 31 and 32 to 63, unsigned. */
  readonly low: number;
  /** Bits 32 to 63, unsigned. */
  readonly high: number;
  /** What it says is the frame, whatever it is: an entry that is not present has none. */
  readonly pfn: number;
}

/** A page struct. */
export interface PageStructInfo {
  /** PG_* flags that are set. */
  readonly flags: readonly PageFlag[];
  /** Who holds the frame: page tables, the page cache, swap. */
  readonly references: number;
  /** Leaves of page tables that show it; a huge leaf counts in each of its 512 frames. */
  readonly mapCount: number;
  /** File id, or anon_vma id of an anonymous page; 0 = none. */
  readonly mapping: number;
  /** Page of the file or of the anonymous space that it holds. */
  readonly index: number;
}

/** PG_* in lower case. */
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
  | 'lazyfree';

const FLAG_BITS = Object.entries(PG).map(
  ([name, bit]) => [name.toLowerCase() as PageFlag, bit] as const,
);

const SPACE = instanceOf(AddressSpace, 'an AddressSpace');
const MACHINE = instanceOf(Machine, 'a Machine');
const WORD = wholeNumber(0, 0xffff_ffff);

/** What `writePte` puts into an entry. */
export type PteWords = Pick<PteInfo, 'level' | 'low' | 'high'>;
/** What `writePageStruct` changes. */
export type PageStructChanges = Partial<Pick<PageStructInfo, 'flags' | 'mapping' | 'index'>>;

/** What `readPte` has returned is taken, too: its pfn follows from the words. */
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

/** The last entry that a walk to `address` comes to. EINVAL for what is no address of user space. */
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
 * Overwrites the entry that `readPte` finds, counts untouched. `level` must be that of the entry,
 * so that a table is not overwritten by mistake: EINVAL.
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
    const slot = mm.vmas.lookup(pageOf(address));
    if (slot >= 0) noteGuards(mm, slot); // it may be one
    lockTable(mm, cursor.table);
    replaceEntry(cursor.words, cursor.at, low | 0, high | 0);
    unlockTable(mm, cursor.table);
  });
}

function pageOf(address: number): number {
  if (Number.isSafeInteger(address) && address >= 0 && vpnOf(address) <= TASK_PAGES) {
    return vpnOf(address);
  }
  throw new MmdumpError('EINVAL', `${address} is not an address of user space`);
}

/** What the page struct of a frame says. EINVAL for a frame that the machine does not have. */
export function readPageStruct(machine: Machine, pfn: number): PageStructInfo {
  MACHINE('machine', machine);
  assertFrame(machine, pfn);
  const { pages } = machine.parts;
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
 * Overwrites what a page struct says of its page; counts stay as they are. EAGAIN while the machine
 * is frozen, on a thread that must not wait.
 */
export function writePageStruct(machine: Machine, pfn: number, changes: PageStructChanges): void {
  readPageStruct(machine, pfn); // checks both
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
  const { frames } = machine.parts.memory;
  if (Number.isInteger(number('pfn', pfn)) && pfn >= 0 && pfn < frames) return;
  throw new MmdumpError('EINVAL', `${pfn} is no frame: the machine has ${frames}`);
}
