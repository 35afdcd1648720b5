/** Faulting pages in beforehand (populate_vma_page_range, faultin_page_range). mmap lock held. */
import { errnoOf } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { unlockTable } from '../tables/page-table.ts';
import type { Progress } from './access.ts';
import { lockPage } from './fault.ts';

/** Makes one page accessible. SIGSEGV or SIGBUS as an access would have it. */
export function touchPage(mm: Mm, vpn: number, write: boolean): void {
  lockPage(mm, vpn, write);
  unlockTable(mm, mm.cursor.table);
}

/**
 * Faults in what is mapped in [from, to), as mlock and MAP_POPULATE do: writable private mappings
 * with write faults, mappings of devices not at all. Returns false when a page could not be had;
 * with `goOn` (MAP_POPULATE) the next VMA is tried all the same. `progress` counts pages: where memory
 * had to be reclaimed it goes on, since what was there at first may be in swap by now.
 */
export function populateLocked(
  mm: Mm,
  first: number,
  to: number,
  goOn: boolean,
  progress: Progress,
): boolean {
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

/** Whether the page could be made accessible; false after SIGSEGV and SIGBUS. */
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
