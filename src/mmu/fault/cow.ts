/** Copy-on-write (do_wp_page): a write to a page that is mapped read-only in a writable VMA. */
import { VM } from '../../shared/vm-flags.ts';
import { BEYOND_MEMORY, sigbus } from '../arguments/signal.ts';
import type { Mm } from '../mm/mm.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, type PageCursor, unlockTable } from '../tables/page-table.ts';
import { isPresent, PTE, pfnOf, setEntry, WRITTEN } from '../tables/pte.ts';
import { revokePage } from '../tables/revoke.ts';
import { dropLeaf, noteDirty } from '../tables/zap.ts';
import { describeAnonymous, setLeaf } from './leaf.ts';

const { WRITE, SPECIAL } = PTE;
const { ANON, RESERVED, ZERO, KSM, ADOPTED } = PG;

export function breakCow(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  cursor: PageCursor,
): void {
  const { words, at, table } = cursor;
  lockTable(mm, table);
  try {
    const low = words[at]!;
    const high = words[at + 1]!;
    if (!isPresent(low) || (low & WRITE) !== 0) return; // another thread has handled the fault
    const old = pfnOf(low, high);
    if (!mm.memory.has(old)) throw sigbus(vpn, BEYOND_MEMORY);
    if ((flags & VM.SHARED) !== 0 || mayReuse(mm, low, old)) {
      if ((mm.pages.flags(old) & (ANON | ADOPTED)) === ANON) mm.pages.setOrigin(old, 0, 0); // it gets written
      setEntry(words, at, low | WRITE | WRITTEN, high);
      if ((low & SPECIAL) === 0) noteDirty(mm, old);
      mm.faulted = 'reuse';
      return;
    }
    revokePage(mm);
    copyPage(mm, slot, flags, vpn, cursor, old);
    dropLeaf(mm, old);
    mm.faulted = 'cow';
  } finally {
    unlockTable(mm, table);
  }
}

/**
 * Maps a copy of the frame `old` in its place (wp_page_copy). The caller holds the page-table lock,
 * and then drops the reference that the leaf had to `old`.
 */
function copyPage(
  mm: Mm,
  slot: number,
  flags: number,
  vpn: number,
  cursor: PageCursor,
  old: number,
): void {
  const isZero = (mm.pages.flags(old) & ZERO) !== 0;
  const fresh = isZero ? mm.allocator.allocateZeroed(mm.thread) : mm.allocator.allocate(mm.thread);
  if (!isZero) mm.memory.copy(fresh, old);
  describeAnonymous(mm, slot, vpn, fresh);
  setLeaf(cursor, fresh, flags, true, true);
}

/**
 * wp_can_reuse_anon_folio: true if nothing else refers to this anonymous page. An adopted page is
 * written in place by all that map it.
 */
function mayReuse(mm: Mm, low: number, pfn: number): boolean {
  if ((low & SPECIAL) !== 0) return false;
  const flags = mm.pages.flags(pfn);
  if ((flags & ADOPTED) !== 0) return true;
  return (flags & ANON) !== 0 && (flags & (RESERVED | KSM)) === 0 && mm.pages.references(pfn) === 1;
}
