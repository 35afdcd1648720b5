/**
 * Checks a scan against an independent source: the totals that smaps gives for a mapping must equal
 * the sums over its page map, to the kB. The check takes privilege: without it a zero page looks
 * like a page of memory.
 */
import { SCAN_KIND, SCAN_RUN_KIND, SCAN_VMA } from '../../shared/dump/scan-table.ts';
import { hex, PAGE_SIZE } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { ScanResult } from './scan-phase.ts';
import type { SmapsTotals, SmapsVma } from './smaps.ts';

const KB_PER_PAGE = PAGE_SIZE / 1024;
/** Mappings whose pages smaps counts elsewhere, or not at all. */
const UNCOUNTED = VM.IO | VM.PFNMAP | VM.HUGETLB;

/** Returns a line of text for each total that differs, by a unique name; empty if all are equal. */
export function compareWithSmaps(
  smaps: readonly SmapsVma[],
  scan: ScanResult,
): Map<string, string> {
  const hugePages = new Map<number, number>();
  for (const { vma, kind, pages } of scan.runs) {
    if (kind === SCAN_RUN_KIND.HUGE) hugePages.set(vma, (hugePages.get(vma) ?? 0) + pages);
  }
  const differences = new Map<string, string>();
  smaps.forEach((vma, index) => {
    if ((vma.flags & UNCOUNTED) !== 0) return;
    // Smaps counts the swapped pages of a memory-backed file, which the page map cannot show.
    const isFilesOwn = scan.vmas.get(index).kind === SCAN_KIND.UNREACHABLE_FILE;
    const found: SmapsTotals = {
      rss: scan.vmas.total(index, SCAN_VMA.RSS) * KB_PER_PAGE,
      anonymous: scan.vmas.total(index, SCAN_VMA.ANONYMOUS) * KB_PER_PAGE,
      swap: scan.vmas.total(index, SCAN_VMA.SWAP) * KB_PER_PAGE,
      ksm: scan.vmas.total(index, SCAN_VMA.KSM) * KB_PER_PAGE,
      anonHugePages: (hugePages.get(index) ?? 0) * KB_PER_PAGE,
    };
    for (const name of ['rss', 'anonymous', 'swap', 'ksm', 'anonHugePages'] as const) {
      if (found[name] === vma.totals[name] || vma.totals[name] === null) continue;
      if (name === 'swap' && isFilesOwn) continue;
      const total = `${hex(vma.start)}-${hex(vma.end)} ${name}`;
      differences.set(total, `${total}: ${found[name]} kB found, smaps says ${vma.totals[name]}`);
    }
  });
  return differences;
}
