/** Guard pages (MADV_GUARD_INSTALL, Linux 6.13): markers that make any access fail. */
import { granuleEnd } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { ensureTables, lockTable, unlockTable } from '../tables/page-table.ts';
import { clearEntry, isGuard, MARKER, MARKER_HIGH, markerLow, setEntry } from '../tables/pte.ts';
import { walkRange } from '../tables/walk-range.ts';
import { zapRangeLocked } from '../tables/zap.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';

/** Markers are about to be set in the VMA: dumps look for them, and a fork copies its tables. */
export function noteGuards(mm: Mm, slot: number): void {
  mm.vmas.noteGuard(slot);
  mm.struct.noteMarker();
}

/** Replaces whatever is in [from, to) of the VMA in `slot` by guard markers. mmap lock held. */
export function installGuards(mm: Mm, slot: number, from: number, to: number): void {
  const { cursor } = mm;
  if (mm.vmas.file(slot) === 0) prepareAnonVma(mm, slot);
  noteGuards(mm, slot);
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    // Another thread may fault a page in between the two: then once more.
    zapRangeLocked(mm, vpn, end, true);
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

/** Takes guard markers out of [from, to), and nothing else. mmap lock held. */
export function removeGuards(mm: Mm, from: number, to: number): void {
  const { cursor } = mm;
  walkRange(mm, from, to, false, (found, vpn, end) => {
    if (found === 'huge') return;
    const { words, at: first, table } = cursor;
    lockTable(mm, table);
    for (let at = first; at < first + (end - vpn) * 2; at += 2) {
      if (isGuard(words[at]!, words[at + 1]!)) clearEntry(words, at);
    }
    unlockTable(mm, table);
  });
}
