/** Guard pages (MADV_GUARD_INSTALL, Linux 6.13): markers that make any access fail. */
import { granuleEnd } from '../../shared/page.ts';
import type { Mm } from '../mm.ts';
import { ensureTables, lockTable, unlockTable, walk } from '../tables/page-table.ts';
import { clearEntry, isGuard, MARKER, MARKER_HIGH, markerLow, setEntry } from '../tables/pte.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';
import { skipHole, zapRangeLocked } from './zap.ts';

/** Replaces whatever is in [from, to) of the VMA in `slot` by guard markers. mmap lock held. */
export function installGuards(mm: Mm, slot: number, from: number, to: number): void {
  const { cursor } = mm;
  if (mm.vmas.file(slot) === 0) prepareAnonVma(mm, slot); // so that a fork copies the tables
  mm.struct.noteMarker();
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
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    const found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'table') {
      const { words, table } = cursor;
      lockTable(mm, table);
      for (let at = cursor.at; at < cursor.at + (end - vpn) * 2; at += 2) {
        if (isGuard(words[at]!, words[at + 1]!)) clearEntry(words, at);
      }
      unlockTable(mm, table);
    }
    vpn = found === 'none' || found === 'bad' ? skipHole(vpn, cursor.level) : end;
  }
}
