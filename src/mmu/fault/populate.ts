/**
 * Faulting pages in before they are accessed (populate_vma_page_range, faultin_page_range). The
 * mmap lock is held in either mode.
 */
import { errnoOf } from '../../shared/errors.ts';
import { MMAP } from '../../shared/sync/held-locks.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { unlockTable } from '../tables/page-table.ts';
import type { Progress } from './access.ts';
import { lockPage } from './fault.ts';

/** Makes one page accessible. Throws SIGSEGV or SIGBUS, as an access to it would. */
export function touchPage(mm: Mm, vpn: number, write: boolean): void {
  lockPage(mm, vpn, write);
  unlockTable(mm, mm.cursor.table);
}

/**
 * Faults in the mapped pages of [first, to), as mlock and MAP_POPULATE do. Writable private
 * mappings get write faults. Mappings of devices, and those with VM_LOCKONFAULT, are skipped.
 * Returns false if a page ended in SIGSEGV or SIGBUS; with `goOn` (MAP_POPULATE) it continues with
 * the next VMA first.
 *
 * `progress` counts pages from `first` on. When the call runs again after a reclaim it continues
 * there, since pages that it faulted in earlier may be in swap by then.
 */
export function populateRange(
  mm: Mm,
  first: number,
  to: number,
  goOn: boolean,
  progress: Progress,
): boolean {
  mm.threads.assertHeld(mm.thread, MMAP, 'pages are faulted in');
  const { vmas } = mm;
  const from = first + progress.done;
  let complete = true;
  for (let ordinal = vmas.find(from); ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    if (vmas.start(slot) >= to) break;
    const flags = vmas.flags(slot);
    if ((flags & (VM.IO | VM.PFNMAP | VM.LOCKONFAULT)) !== 0) continue;
    const write = (flags & (VM.WRITE | VM.SHARED)) === VM.WRITE;
    const end = Math.min(to, vmas.end(slot));
    for (let vpn = Math.max(from, vmas.start(slot)); vpn < end; vpn++) {
      progress.done = vpn - first;
      if (isTouched(mm, vpn, write)) continue;
      complete = false;
      if (!goOn) return false;
      break;
    }
  }
  return complete;
}

/** Whether the page could be made accessible. It is false for SIGSEGV and SIGBUS. */
function isTouched(mm: Mm, vpn: number, write: boolean): boolean {
  try {
    touchPage(mm, vpn, write);
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'SIGSEGV' || code === 'SIGBUS') return false;
    throw error;
  }
}
