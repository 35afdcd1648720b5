/** Giving the leaves of a range another protection (change_protection). mmap lock for writing. */
import { GRANULE_PAGES, granuleEnd } from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import { skipHole, splitHugeLocked } from '../fault/zap.ts';
import type { Mm } from '../mm.ts';
import { lockTable, type PageCursor, unlockTable, walk } from './page-table.ts';
import { highOf, isPresent, leafFlags, lowOf, PTE, pfnOf, setEntry } from './pte.ts';

const { HUGE, SPECIAL, DIRTY } = PTE;

/** Leaves keep their frames; writing faults again and is decided then. */
export function protectRange(mm: Mm, from: number, to: number, flags: number): void {
  const cursor = mm.cursor;
  for (let vpn = from; vpn < to; ) {
    const end = Math.min(to, granuleEnd(vpn));
    let found = walk(mm, mm.pgd, vpn, cursor);
    if (found === 'huge' && end - vpn < GRANULE_PAGES) {
      splitHugeLocked(mm, cursor);
      found = walk(mm, mm.pgd, vpn, cursor);
    }
    const isHole = found === 'none' || found === 'bad';
    if (!isHole) protectEntries(mm, cursor, found === 'huge' ? 1 : end - vpn, flags);
    vpn = isHole ? skipHole(vpn, cursor.level) : end;
  }
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
    const bits =
      leafFlags(privileges.low, writable, (low & DIRTY) !== 0) | (low & (HUGE | SPECIAL));
    setEntry(words, at, lowOf(pfn, bits), highOf(pfn, privileges.high));
  }
  unlockTable(mm, table);
}
