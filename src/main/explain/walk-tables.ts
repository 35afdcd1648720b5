/** The way of the processor through the page tables to one page, and what lies at its end. */
import { type PageStructInfo, pageStructOf } from '../../mmu/machine/debug.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { walk } from '../../mmu/tables/page-table.ts';
import {
  backingOf,
  isBacked,
  isMerged,
  isPresent,
  PTE,
  pfnOf,
  placeOf,
} from '../../mmu/tables/pte.ts';

/** An entry of a page table on the way to a page. */
export interface TableEntry {
  /** The table: level 4 is the pgd, 3 a pud, 2 a pmd, and 1 the table of PTEs. */
  readonly table: 'pgd' | 'pud' | 'pmd' | 'pte';
  /** Bits 0 to 31 of the entry, unsigned. */
  readonly low: number;
  /** Bits 32 to 63 of the entry, unsigned. */
  readonly high: number;
  /** Frame that the entry points to: the next table, or the page. Null if it is not present. */
  readonly pfn: number | null;
  /**
   * Names of the bits that are set: present, write, user, pwt, pcd, accessed, dirty, huge,
   * protnone, special and nx; of an entry that is not present, only backed and merged.
   */
  readonly bits: readonly string[];
}

/** A page that lies in a backing: the memory of a process, an image, or a file. */
export interface BackedPlace {
  /** Number of the backing in the machine. */
  readonly backing: number;
  /** Number of the page in it. */
  readonly place: number;
  /** Whether KSM has merged the page. */
  readonly merged: boolean;
}

/** A frame and its page struct. */
export interface ShownFrame extends PageStructInfo {
  /** Number of the frame. */
  readonly pfn: number;
}

/** A slot of swap. */
export interface ShownSlot {
  /** Number of the slot, over all banks. */
  readonly slot: number;
  /** Number of entries that refer to it. */
  readonly references: number;
}

/** What the last entry shows. At most one of them is not null. */
export interface ShownPage {
  /** The frame of the page, and its page struct. */
  readonly frame: ShownFrame | null;
  /** The slot of swap that holds the page. */
  readonly swap: ShownSlot | null;
  /** The place in a backing. */
  readonly backed: BackedPlace | null;
}

const TABLES = ['pte', 'pmd', 'pud', 'pgd'] as const;

/** Names of the bits of an entry, from the lowest bit on. */
const BITS = [
  [PTE.PRESENT, 'present'],
  [PTE.WRITE, 'write'],
  [PTE.USER, 'user'],
  [PTE.PWT, 'pwt'],
  [PTE.PCD, 'pcd'],
  [PTE.ACCESSED, 'accessed'],
  [PTE.DIRTY, 'dirty'],
  [PTE.HUGE, 'huge'],
  [PTE.PROTNONE, 'protnone'],
  [PTE.SPECIAL, 'special'],
] as const;

/** Reads the entries on the way to page `vpn`. Precondition: the mm is held, the machine frozen. */
export function walkTo(mm: Mm, vpn: number): TableEntry[] {
  const entries: TableEntry[] = [];
  for (let level = 4; level > 0; level--) {
    walk(mm, mm.pgd, vpn, mm.cursor, level);
    if (mm.cursor.level !== level) break; // the walk has ended above
    const { words, at } = mm.cursor;
    const low = words[at]!;
    const high = words[at + 1]!;
    const pfn = isPresent(low) ? pfnOf(low, high) : null;
    const table = TABLES[level - 1]!;
    entries.push({ table, low: low >>> 0, high: high >>> 0, pfn, bits: bitsOf(low, high) });
  }
  return entries;
}

function bitsOf(low: number, high: number): string[] {
  if (!isPresent(low)) {
    return [...(isBacked(low) ? ['backed'] : []), ...(isMerged(low) ? ['merged'] : [])];
  }
  const names: string[] = BITS.filter(([bit]) => (low & bit) !== 0).map(([, name]) => name);
  return (high & PTE.NX_HIGH) !== 0 ? [...names, 'nx'] : names;
}

/** What the last entry of a walk to page `vpn` shows, under the same precondition. */
export function shownAt({ memory, pages, machine }: Mm, vpn: number, last: TableEntry): ShownPage {
  const nothing = { frame: null, swap: null, backed: null };
  const isHuge = last.table === 'pmd' && last.bits.includes('huge');
  if (last.table !== 'pte' && !isHuge) return nothing;
  const low = last.low | 0;
  const high = last.high | 0;
  if (last.pfn !== null) {
    const pfn = last.pfn + (isHuge ? vpn % 512 : 0);
    if (!memory.has(pfn)) return nothing;
    return { ...nothing, frame: { pfn, ...pageStructOf(pages, pfn) } };
  }
  if (isBacked(low)) {
    const place = { backing: backingOf(high), place: placeOf(low, high), merged: isMerged(low) };
    return { ...nothing, backed: place };
  }
  const slot = low === 0 && high === 0 ? -1 : machine.swap.slotOf(low, high);
  if (slot < 0) return nothing;
  return { ...nothing, swap: { slot, references: machine.swap.references(slot) } };
}
