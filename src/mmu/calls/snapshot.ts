/**
 * Snapshots of an mm: a clone that shares its leaf tables (`tables/shared-table.ts`), and the way
 * back. The mmap lock of the mm is held for writing, and nobody changes its clone.
 *
 * A clone is exact, unlike the child of a fork: it has every VMA and every entry, and the anon_vmas
 * of the mm. Adopted pages are copied at once, as for a fork, since their owner writes them behind
 * the machine's back. A copy carries ADOPTED_COPY in its leaf, and the number of the adopted frame
 * in NEXT of its page struct, so that a rewind stores its bytes where they came from.
 */
import { GRANULE_PAGES, type Pfn, TASK_PAGES } from '../../shared/page.ts';
import { RANK } from '../../shared/sync/held-locks.ts';
import { claimMm, freeMm, type Mm, mmOf } from '../mm/mm.ts';
import { LDT_AT, LDT_MAX_ENTRIES, MM_FIELD } from '../mm/mm-struct.ts';
import { seenAt } from '../physical/adopted-marks.ts';
import { PG } from '../physical/page-struct.ts';
import { allocateTable, isBadHugeLeaf, isBadTableEntry } from '../tables/page-table.ts';
import { highOf, isPresent, lowOf, PTE, pfnOf, TABLE_ENTRY } from '../tables/pte.ts';
import { revokeTranslations } from '../tables/revoke.ts';
import { shareEntry, shareFrame } from '../tables/shared-table.ts';
import { addVma, unmapRange } from '../vma/vma-edit.ts';
import { copyAdopted, isAdopted } from './adopted-copy.ts';
import { withLdt } from './ldt.ts';

const { WRITE, HUGE, NX_HIGH, ADOPTED_COPY } = PTE;
const FLAGS = 0xfff; // the bits of the low word that are not the pfn's
const TABLE_WORDS = 1024;

/** MAPPING of a clone's leaf table that has copies of adopted pages. Other tables have 0 there. */
export const HAS_COPIES = 1;

/** The words of the fields that a snapshot keeps: all but the state, the pgd and the LDT lock. */
const FIRST_FIELD = MM_FIELD.AUXV_BYTES;
const LAST_FIELD = MM_FIELD.MARKERS;
/** Fields with places in the store. */
const STORED = [MM_FIELD.AUXV_AT, MM_FIELD.NOTES_AT] as const;

/** An entry above the leaves. Of 'none' and 'bad' ones, nothing below counts. */
export type UpperEntry = 'none' | 'bad' | 'huge' | 'table';

/** What an entry of a table of `level` (2 to 4) is. */
export function upperEntry(mm: Mm, level: number, low: number, high: number): UpperEntry {
  if (low === 0) return 'none';
  if (level === 2 && (low & HUGE) !== 0) return isBadHugeLeaf(low) ? 'bad' : 'huge';
  return isBadTableEntry(mm, low, high) ? 'bad' : 'table';
}

/**
 * Makes and publishes a clone of the mm, for the snapshot `id`. From then on, the protected tables
 * of the mm are those that have not changed since this snapshot. Throws ENOMEM; the mm has not
 * changed then.
 */
export function cloneMm(mm: Mm, id: number): Mm {
  const { machine, thread, threads } = mm;
  threads.assertHeld(thread, RANK.MMAP_WRITE, 'a snapshot is taken');
  const clone = mmOf(machine, claimMm(machine, thread), thread);
  revokeTranslations(mm);
  if (machine.adoptedMarks !== undefined) {
    // Before the first copy: what changes from here on has a later step.
    clone.struct.set(MM_FIELD.ADOPTED_SEEN, seenAt(machine.nextAdoptedStep()));
  }
  mm.struct.set(MM_FIELD.BASE, id); // first: tables become protected from here on
  try {
    restoreLdt(mm, clone);
    copyFields(mm, clone);
    copyAll(mm, clone);
  } catch (error) {
    freeMm(clone);
    throw error;
  }
  clone.struct.set(MM_FIELD.SNAPSHOT, 1);
  clone.struct.publish();
  return clone;
}

function copyAll(mm: Mm, clone: Mm): void {
  const { vmas } = mm;
  try {
    for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
      addVma(clone, vmas.fields(vmas.slot(ordinal)));
    }
    copyTables(mm, clone, mm.pgd, clone.pgd, 4);
  } catch (error) {
    unmapRange(clone, 0, TASK_PAGES);
    throw error;
  }
}

/** Gives `to` the fields of `from`. The bytes of auxiliary vector and notes stay where they are. */
export function copyFields(from: Mm, to: Mm): void {
  const { store } = to.machine;
  for (const field of STORED) {
    store.get(from.struct.get64(field));
    store.put(to.struct.get64(field), to.thread);
  }
  for (let at = FIRST_FIELD; at <= LAST_FIELD; at++) to.struct.set(at, from.struct.get(at));
}

/** Gives `to` the LDT of `from`, unless both are empty. Nobody changes that of `from` meanwhile. */
export function restoreLdt(from: Mm, to: Mm): void {
  const { LDT_ENTRIES } = MM_FIELD;
  const entries = Math.max(from.struct.get(LDT_ENTRIES), to.struct.get(LDT_ENTRIES));
  if (entries === 0) return;
  withLdt(to, () => {
    const { words } = to.struct;
    const at = from.struct.base + LDT_AT;
    words.copyWithin(to.struct.base + LDT_AT, at, at + LDT_MAX_ENTRIES * 2);
    to.struct.set(LDT_ENTRIES, from.struct.get(LDT_ENTRIES));
  });
}

/** Copies a table of `level` (2 to 4) of the mm to one of the clone. */
function copyTables(mm: Mm, clone: Mm, table: Pfn, fresh: Pfn, level: number): void {
  const from = mm.memory.wordsOf(table);
  const to = mm.memory.wordsOf(fresh);
  const first = mm.memory.wordAt(table);
  const offset = mm.memory.wordAt(fresh) - first;
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    const low = from[at]!;
    const high = from[at + 1]!;
    switch (upperEntry(mm, level, low, high)) {
      case 'none':
        break;
      case 'bad':
        to[at + offset] = low; // leads nowhere, as in the mm
        to[at + offset + 1] = high;
        break;
      case 'huge':
        copyHuge(mm, from, at, to, at + offset);
        break;
      default:
        if (level === 2) copyLeafTable(mm, from, at, to, at + offset);
        else {
          const lower = allocateTable(clone, level - 1);
          to[at + offset] = lowOf(lower, TABLE_ENTRY);
          to[at + offset + 1] = highOf(lower, 0);
          copyTables(mm, clone, pfnOf(low, high) as Pfn, lower, level - 1);
        }
    }
  }
}

/** Gives to[there] the huge leaf at from[at]. It is private, so it becomes read-only in both. */
export function copyHuge(
  mm: Mm,
  from: Int32Array,
  at: number,
  to: Int32Array,
  there: number,
): void {
  const first = pfnOf(from[at]!, from[at + 1]!);
  for (let page = 0; page < GRANULE_PAGES; page++) shareFrame(mm, first + page);
  copyProtected(from, at, to, there);
}

/** Gives to[there] the entry at from[at]. Neither permits writes from now on. */
function copyProtected(from: Int32Array, at: number, to: Int32Array, there: number): void {
  const low = from[at]! & ~WRITE;
  from[at] = low;
  to[there] = low;
  to[there + 1] = from[at + 1]!;
}

/** Shares the leaf table behind from[at], or copies it if it shows adopted frames. */
function copyLeafTable(mm: Mm, from: Int32Array, at: number, to: Int32Array, there: number): void {
  const table = pfnOf(from[at]!, from[at + 1]!) as Pfn;
  if (mm.machine.adoptedMarks !== undefined && showsAdopted(mm, table)) {
    const fresh = allocateTable(mm, 1);
    to[there] = lowOf(fresh, TABLE_ENTRY);
    to[there + 1] = highOf(fresh, 0);
    mm.pages.describe(fresh, PG.TABLE, HAS_COPIES, 0);
    copyAdoptedTable(mm, table, fresh);
    return; // the mm's entry keeps W: nobody knows whether adopted pages have changed
  }
  shareTable(mm, from, at, to, there);
}

/** Makes to[there] point to the leaf table behind from[at], which neither may change from now on. */
export function shareTable(
  mm: Mm,
  from: Int32Array,
  at: number,
  to: Int32Array,
  there: number,
): void {
  mm.pages.get(pfnOf(from[at]!, from[at + 1]!));
  copyProtected(from, at, to, there);
}

function isAdoptedLeaf(mm: Mm, low: number, high: number): boolean {
  return isPresent(low) && isAdopted(mm, pfnOf(low, high));
}

function showsAdopted(mm: Mm, table: Pfn): boolean {
  const words = mm.memory.wordsOf(table);
  const first = mm.memory.wordAt(table);
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    if (isAdoptedLeaf(mm, words[at]!, words[at + 1]!)) return true;
  }
  return false;
}

/** Copies the entries of a table, and the pages behind those that show adopted frames. */
function copyAdoptedTable(mm: Mm, table: Pfn, fresh: Pfn): void {
  const from = mm.memory.wordsOf(table);
  const to = mm.memory.wordsOf(fresh);
  const first = mm.memory.wordAt(table);
  const offset = mm.memory.wordAt(fresh) - first;
  for (let at = first; at < first + TABLE_WORDS; at += 2) {
    const low = from[at]!;
    const high = from[at + 1]!;
    if (low === 0) continue;
    if (isAdoptedLeaf(mm, low, high)) {
      const adopted = pfnOf(low, high);
      const copy = copyAdopted(mm, adopted);
      mm.pages.setNext(copy, adopted);
      to[at + offset] = lowOf(copy, (low & FLAGS & ~WRITE) | ADOPTED_COPY);
      to[at + offset + 1] = highOf(copy, high & NX_HIGH);
      continue;
    }
    to[at + offset] = shareEntry(mm, from, at);
    to[at + offset + 1] = high;
  }
}
