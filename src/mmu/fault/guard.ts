/** Guard pages (MADV_GUARD_INSTALL, Linux 6.13): markers that make every access fail. */
import { granuleEnd } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import { clearEntry, isGuard, MARKER, MARKER_HIGH, markerLow, setEntry } from '../tables/pte.ts';
import { ensureTables } from '../tables/shared-table.ts';
import { walkRange } from '../tables/walk-range.ts';
import { zapRange } from '../tables/zap.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';

/**
 * Records that guard markers are about to be set in the VMA. From then on dumps look for markers in
 * this mm, and a fork copies the tables of this VMA.
 */
export function noteGuards(mm: Mm, slot: number): void {
  mm.vmas.noteGuard(slot);
  mm.struct.noteMarker();
}

/**
 * Replaces everything in pages [from, to) of the VMA in `slot` by guard markers
 * (madvise_guard_install). The caller holds the mmap lock for writing.
 */
export function installGuards(mm: Mm, slot: number, from: number, to: number): void {
  const { cursor } = mm;
  if (mm.vmas.file(slot) === 0) prepareAnonVma(mm, slot);
  noteGuards(mm, slot);
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    // Under the mmap lock for writing no page is faulted in between the two steps. The kernel holds
    // it for reading and has to repeat them; this loop would repeat them as well.
    zapRange(mm, vpn, end, true);
    if (ensureTables(mm, mm.pgd, vpn, 1, cursor) === 'huge') continue;
    const { words, at, table } = cursor;
    lockTable(mm, table);
    let next = vpn;
    while (next < end && isFree(words, at + (next - vpn) * 2)) {
      setEntry(words, at + (next - vpn) * 2, markerLow(MARKER.GUARD), MARKER_HIGH);
      next++;
    }
    unlockTable(mm, table);
    vpn = next;
  }
}

function isFree(words: Int32Array, at: number): boolean {
  return words[at] === 0 || isGuard(words[at]!, words[at + 1]!);
}

/**
 * Removes the guard markers of pages [from, to) and leaves all other entries alone
 * (madvise_guard_remove). The caller holds the mmap lock for writing.
 */
export function removeGuards(mm: Mm, from: number, to: number): void {
  const { cursor } = mm;
  walkRange(mm, from, to, 'change', (found, vpn, end) => {
    if (found === 'huge') return;
    const { words, at: first, table } = cursor;
    lockTable(mm, table);
    for (let at = first; at < first + (end - vpn) * 2; at += 2) {
      if (isGuard(words[at]!, words[at + 1]!)) clearEntry(words, at);
    }
    unlockTable(mm, table);
  });
}
