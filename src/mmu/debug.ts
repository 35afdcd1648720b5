/**
 * Looking at page tables and page structs, and damaging them on purpose: for tests, lessons and
 * simulators that have states to set up which no system call leads to. What is written is not
 * checked: a dump, a fault and `munmap` have to live with it, and say what is wrong.
 */
import { MmdumpError } from '../shared/errors.ts';
import { hex, TASK_PAGES, vpnOf } from '../shared/page.ts';
import type { AddressSpace } from './address-space.ts';
import { runOn } from './enter.ts';
import { noteGuards } from './fault/guard.ts';
import { holdGate } from './hold.ts';
import type { Machine } from './machine.ts';
import { PG } from './physical/page-struct.ts';
import { lockTable, unlockTable, walk } from './tables/page-table.ts';
import { pfnOf, replaceEntry } from './tables/pte.ts';

/** An entry of a page table of x86-64. */
export interface PteInfo {
  /** 1 for the page's own entry, 2 for a 2 MiB leaf; higher when nothing is below. */
  readonly level: number;
  /** Bits 0 to 31 and 32 to 63, unsigned. */
  readonly low: number;
  readonly high: number;
  /** What it says is the frame, whatever it is: an entry that is not present has none. */
  readonly pfn: number;
}

/** A page struct. */
export interface PageStructInfo {
  readonly flags: readonly PageFlag[];
  readonly references: number;
  readonly mapCount: number;
  /** File id, or anon_vma id of an anonymous page; 0 = none. */
  readonly mapping: number;
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

/** The last entry that a walk to `address` comes to. */
export function readPte(space: AddressSpace, address: number): PteInfo {
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
export function writePte(
  space: AddressSpace,
  address: number,
  { level, low, high }: Pick<PteInfo, 'level' | 'low' | 'high'>,
): void {
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

export function readPageStruct(machine: Machine, pfn: number): PageStructInfo {
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
export function writePageStruct(
  machine: Machine,
  pfn: number,
  changes: Partial<Pick<PageStructInfo, 'flags' | 'mapping' | 'index'>>,
): void {
  const { parts } = machine;
  holdGate(parts, parts.thread, () => {
    const { flags, mapping, index } = { ...readPageStruct(machine, pfn), ...changes };
    const wanted = new Set(flags);
    const bits = FLAG_BITS.reduce((sum, [name, bit]) => sum | (wanted.has(name) ? bit : 0), 0);
    parts.pages.describe(pfn, bits, mapping, index);
  });
}

function assertFrame(machine: Machine, pfn: number): void {
  const { frames } = machine.parts.memory;
  if (Number.isInteger(pfn) && pfn >= 0 && pfn < frames) return;
  throw new MmdumpError('EINVAL', `${pfn} is no frame: the machine has ${frames}`);
}
