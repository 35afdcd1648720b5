/** What a mapping of a memory-backed or deleted file hides (row 12 of docs/CLASSIFICATION.md). */

import type { Mm } from '../../mmu/mm/mm.ts';
import {
  FILE_VIEW,
  isPresentLeaf,
  ruleOfNotPresent,
  ruleOfPresent,
} from '../../mmu/tables/classify.ts';
import { PageCursor, walk } from '../../mmu/tables/page-table.ts';
import { pfnOf } from '../../mmu/tables/pte.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { GRANULE_PAGES } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';

const LOW_BITS = GRANULE_PAGES - 1;

/**
 * Whether a mapping of a lost file shows something else than the file's page at `vpn`. A shared
 * mapping does so only behind a marker; a private one wherever its leaf is not the file's.
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
  if (!isPresentLeaf(low)) {
    return !isShared || ruleOfNotPresent(low, high, -1) !== RULE.BAD_SWAP;
  }
  if (isShared) return false;
  const pfn = pfnOf(low, high) + (found === 'huge' ? vpn & LOW_BITS : 0);
  if (pfn >= mm.memory.frames) return true;
  const rule = ruleOfPresent(
    low,
    mm.pages.flags(pfn),
    mm.pages.mapping(pfn),
    mm.vmas.file(slot),
    FILE_VIEW.LOST,
    false,
  );
  return rule !== RULE.LOST_FILE_OWNER;
}
