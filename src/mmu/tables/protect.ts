/** Changes the protection of a range of leaves (change_protection). mmap lock held for writing. */
import { RANK } from '../../shared/sync/held-locks.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, type PageCursor, unlockTable } from './page-table.ts';
import { highOf, isPresent, leafFlags, lowOf, PTE, pfnOf, setEntry } from './pte.ts';
import { walkRange } from './walk-range.ts';

const { HUGE, SPECIAL, DIRTY, SOFT_DIRTY } = PTE;

/**
 * Gives the present leaves of pages [from, to) the protection that the VM_* bits `flags` imply.
 * They keep their frames. A leaf of a private mapping becomes read-only, so that the next write
 * faults and `breakCow` decides. Throws ENOMEM when a huge leaf has to be split and no frame is
 * free.
 */
export function protectRange(mm: Mm, from: number, to: number, flags: number): void {
  mm.threads.assertHeld(mm.thread, RANK.MMAP_WRITE, 'leaves get another protection');
  const { cursor } = mm;
  walkRange(mm, from, to, 'split', (found, vpn, end) => {
    protectEntries(mm, cursor, found === 'huge' ? 1 : end - vpn, flags);
  });
}

function protectEntries(mm: Mm, cursor: PageCursor, count: number, flags: number): void {
  const { words, table } = cursor;
  const privileges = pagePrivileges(flags);
  const shared = (flags & (VM.SHARED | VM.WRITE)) === (VM.SHARED | VM.WRITE);
  lockTable(mm, table);
  for (let at = cursor.at; at < cursor.at + count * 2; at += 2) {
    const low = words[at]!;
    if (!isPresent(low)) continue;
    const pfn = pfnOf(low, words[at + 1]!);
    const writable = shared && (low & HUGE) === 0;
    const kept = low & (HUGE | SPECIAL | DIRTY | SOFT_DIRTY);
    const bits = leafFlags(privileges.low, writable, false) | kept;
    setEntry(words, at, lowOf(pfn, bits), highOf(pfn, privileges.high));
  }
  unlockTable(mm, table);
}
