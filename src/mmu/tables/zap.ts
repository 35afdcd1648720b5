/**
 * Taking mappings out of the page tables (zap_page_range). The mmap lock is held: for writing, or for
 * reading where pages go but VMAs stay (MADV_DONTNEED).
 */
import { GRANULE_PAGES } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, type PageCursor, unlockTable } from './page-table.ts';
import { clearEntry, isGuard, isPresent, PTE, pfnOf } from './pte.ts';
import { walkRange } from './walk-range.ts';

const { HUGE, DIRTY, SPECIAL } = PTE;

/** Removes every leaf in [from, to) and drops what it referred to. */
export function zapRangeLocked(mm: Mm, from: number, to: number, keepGuards = false): void {
  const { cursor } = mm;
  walkRange(mm, from, to, true, (found, vpn, end) => {
    if (found === 'table') zapTable(mm, cursor, end - vpn, keepGuards);
    else zapHuge(mm, cursor);
  });
}

/** Removes `count` entries of a leaf table, from the cursor on. */
function zapTable(mm: Mm, cursor: PageCursor, count: number, keepGuards: boolean): void {
  const { words, table } = cursor;
  lockTable(mm, table);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    if (low === 0) continue;
    const high = words[at + 1]!;
    if (keepGuards && isGuard(low, high)) continue;
    clearEntry(words, at);
    dropEntry(mm, low, high);
  }
  unlockTable(mm, table);
}

function zapHuge(mm: Mm, cursor: PageCursor): void {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  const low = words[at]!;
  const first = pfnOf(low, words[at + 1]!);
  const isStillHuge = (low & HUGE) !== 0;
  if (isStillHuge) clearEntry(words, at);
  unlockTable(mm, table);
  if (!isStillHuge) return; // another thread was here, and nothing is mapped
  for (let pfn = first; pfn < first + GRANULE_PAGES; pfn++) dropLeaf(mm, pfn);
}

/** What a withdrawn 4 KiB entry referred to has one leaf less: a frame or a swap slot. */
function dropEntry(mm: Mm, low: number, high: number): void {
  if (!isPresent(low)) {
    const slot = mm.machine.swap.slotOf(low, high);
    if (slot >= 0) mm.machine.swap.put(slot, mm.thread);
    return;
  }
  const pfn = pfnOf(low, high);
  if ((low & (DIRTY | SPECIAL)) === DIRTY) noteDirty(mm, pfn);
  dropLeaf(mm, pfn);
}

/** A file's page was written through a leaf that now goes. */
export function noteDirty(mm: Mm, pfn: number): void {
  if (pfn <= 0 || pfn >= mm.memory.frames) return; // corrupted on purpose
  const flags = mm.pages.flags(pfn);
  if ((flags & (PG.ANON | PG.RESERVED | PG.DIRTY)) === 0) mm.pages.addFlags(pfn, PG.DIRTY);
}

/** One leaf less maps this frame. The zero page, device memory and the like are not counted. */
export function dropLeaf(mm: Mm, pfn: number): void {
  if (pfn <= 0 || pfn >= mm.memory.frames) return; // corrupted on purpose: nothing to drop
  if ((mm.pages.flags(pfn) & PG.RESERVED) !== 0) return;
  mm.pages.dropMapping(pfn);
  mm.allocator.put(pfn, mm.thread);
}
