/**
 * Loads backed pages before anybody touches them, many with one read. It races with faults, writes
 * and other changes: bytes are read without a lock, and an entry that has changed meanwhile stays.
 * The mmap lock is held in either mode.
 */

import { setLeaf } from '../fault/leaf.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import {
  backingOf,
  isBacked,
  isMerged,
  NEXT_PLACE,
  namedPage,
  placeOf,
  softOfSwapped,
} from '../tables/pte.ts';
import { openTable } from '../tables/shared-table.ts';
import { walkRange } from '../tables/walk-range.ts';
import { dropLeaf } from '../tables/zap.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';

/** Granules that `findBacked` looks at before it returns. */
const GRANULES_AT_ONCE = 4096;

/** Where `findBacked` has to go on, or -1 at the end, and the granules that it found. */
export interface BackedGranules {
  readonly next: number;
  /** First page of each part of a granule with a backed page, and the number of its pages. */
  readonly parts: readonly { readonly start: number; readonly pages: number }[];
}

/** Finds the parts of [from, to) that have backed pages, granule by granule, for a while. */
export function findBacked(mm: Mm, from: number, to: number): BackedGranules {
  const parts: { start: number; pages: number }[] = [];
  let next = -1;
  let seen = 0;
  const { vmas, cursor } = mm;
  for (let ordinal = vmas.find(from); ordinal < vmas.count && next < 0; ordinal++) {
    const slot = vmas.slot(ordinal);
    const start = Math.max(from, vmas.start(slot));
    if (start >= to) break;
    walkRange(mm, start, Math.min(to, vmas.end(slot)), 'look', (found, vpn, end) => {
      if (seen++ === GRANULES_AT_ONCE) {
        next = vpn;
        return false;
      }
      const pages = end - vpn;
      const hasAny = found === 'table' && hasBacked(cursor.words, cursor.at, pages);
      if (hasAny) parts.push({ start: vpn, pages });
      return true;
    });
  }
  return { next, parts };
}

function hasBacked(words: Int32Array, at: number, count: number): boolean {
  for (let entry = at; entry < at + count * 2; entry += 2) if (isBacked(words[entry]!)) return true;
  return false;
}

/**
 * Loads the backed pages of [from, to), as reads of them would. Returns how many. Throws ENOMEM if
 * no frame is free, WantsWriteLock where a snapshot shares a table, and what the backing throws if a
 * page cannot be read; the pages before it are loaded.
 */
export function loadBacked(mm: Mm, from: number, to: number): number {
  let loaded = 0;
  const { vmas } = mm;
  for (let ordinal = vmas.find(from); ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    const start = Math.max(from, vmas.start(slot));
    if (start >= to) break;
    walkRange(mm, start, Math.min(to, vmas.end(slot)), 'look', (found, vpn, end) => {
      if (found === 'table') loaded += loadGranule(mm, slot, vpn, end - vpn);
    });
  }
  return loaded;
}

/** Loads the backed pages behind the `count` entries from the cursor of the mm on. */
function loadGranule(mm: Mm, slot: number, vpn: number, count: number): number {
  const { cursor } = mm;
  if (!hasBacked(cursor.words, cursor.at, count)) return 0;
  openTable(mm, vpn, cursor);
  const { words, at, table } = cursor;
  let loaded = 0;
  for (let page = 0; page < count; ) {
    lockTable(mm, table);
    const low = namedPage(words[at + page * 2]!);
    const high = words[at + page * 2 + 1]!;
    const pages = isBacked(low) ? neighbours(words, at + page * 2, count - page) : 0;
    unlockTable(mm, table);
    if (pages === 0) {
      page++;
      continue;
    }
    const first = mm.allocator.allocateRun(pages, mm.thread);
    loaded += loadRun(mm, slot, vpn + page, { at: at + page * 2, low, high, ...first });
    page += first.count;
  }
  cursor.at = at;
  return loaded;
}

/** Neighbouring backed entries from word `at` on, and as many frames. */
interface Run {
  readonly at: number;
  readonly low: number;
  readonly high: number;
  readonly first: number;
  readonly count: number;
}

function loadRun(mm: Mm, slot: number, vpn: number, run: Run): number {
  const { memory, machine, allocator, pages, cursor, thread } = mm;
  const { at, low, high, first, count } = run;
  try {
    const into = memory.bytesOf(first);
    machine.backings.read(backingOf(high), placeOf(low, high), count, into, memory.byteAt(first));
  } catch (error) {
    for (let page = 0; page < count; page++) allocator.put(first + page, thread);
    throw error;
  }
  const anonVma = prepareAnonVma(mm, slot);
  const index = mm.vmas.fileIndex(slot, vpn);
  const merged = isMerged(low) ? PG.KSM : 0;
  pages.describeMapped(first, count, PG.ANON | PG.SWAPBACKED | merged, anonVma, index, 1);
  const flags = mm.vmas.flags(slot);
  let loaded = 0;
  lockTable(mm, cursor.table);
  for (let page = 0; page < count; page++) {
    const expected = (low + page * NEXT_PLACE) | 0;
    pages.setOrigin(first + page, expected, high);
    const { words } = cursor;
    cursor.at = at + page * 2;
    const found = words[cursor.at]!;
    if (namedPage(found) === expected && words[cursor.at + 1] === high) {
      setLeaf(cursor, first + page, flags, false, false, softOfSwapped(found) !== 0);
      loaded++;
    } else {
      dropLeaf(mm, first + page);
    }
  }
  unlockTable(mm, cursor.table);
  return loaded;
}

/** Number of entries from words[at] on, at most `limit`, whose pages are neighbours in a backing. */
export function neighbours(words: Int32Array, at: number, limit: number): number {
  const high = words[at + 1]!;
  let low = namedPage(words[at]!);
  let pages = 1;
  for (; pages < limit; pages++) {
    low = (low + NEXT_PLACE) | 0;
    const next = at + pages * 2;
    if (namedPage(words[next]!) !== low || words[next + 1] !== high || !isBacked(low)) break;
  }
  return pages;
}
