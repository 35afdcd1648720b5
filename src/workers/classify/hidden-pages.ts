/** Where a VMA hides pages of its unreachable file (row 12 of docs/CLASSIFICATION.md). */

import type { Mm } from '../../mmu/mm/mm.ts';
import { FILE_VIEW, ruleOfNotPresent, ruleOfPresent } from '../../mmu/tables/classify.ts';
import { PageCursor, walk } from '../../mmu/tables/page-table.ts';
import { isPresent, pfnOf } from '../../mmu/tables/pte.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';

const LOW_BITS = GRANULE_PAGES - 1;

/**
 * Whether the VMA at page `vpn` hides the page of its file there. A shared VMA hides it only behind
 * a marker. A private VMA hides it wherever its leaf shows something other than the file's page.
 *
 * Preconditions: the VMA maps an unreachable file. The mmap lock of `mm` is held.
 */
export function hidesFilePage(mm: Mm, vpn: number): boolean {
  const slot = mm.vmas.lookup(vpn);
  const isShared = (mm.vmas.flags(slot) & VM.MAYSHARE) !== 0;
  const cursor = new PageCursor();
  const found = walk(mm, mm.pgd, vpn, cursor);
  if (found === 'bad') return !isShared;
  if (found === 'none') return false;
  const low = cursor.words[cursor.at]!;
  const high = cursor.words[cursor.at + 1]!;
  if (low === 0) return false;
  if (!isPresent(low)) {
    return !isShared || ruleOfNotPresent(low, high, -1) !== RULE.BAD_SWAP;
  }
  if (isShared) return false;
  const pfn = pfnOf(low, high) + (found === 'huge' ? vpn & LOW_BITS : 0);
  if (!mm.memory.has(pfn)) return true;
  const rule = ruleOfPresent(
    low,
    mm.pages.flags(pfn),
    mm.pages.mapping(pfn),
    mm.vmas.file(slot),
    FILE_VIEW.UNREACHABLE,
    false,
  );
  return rule !== RULE.UNREACHABLE_FILE_OWNER;
}
