/** The pages of an mm by class, per VMA and in total. */

import { LDT_ENTRY_SIZE } from '../../mmu/ldt.ts';
import { addressOf } from '../../shared/page.ts';
import type { LayoutMm } from '../formats/layout.ts';
import type { MemoryUsage } from '../memory-usage.ts';
import type { MmReport, PageCounts, VmaReport } from '../report.ts';
import type { Turns } from '../stop.ts';

/** All but what is known only once every mm is. */
export type PagesReport = Omit<MmReport, keyof MemoryUsage>;

export async function mmReport(
  { mm, tally, ldt }: LayoutMm,
  source: string,
  turns: Turns,
): Promise<PagesReport> {
  const vmas: VmaReport[] = [];
  const total = { absent: 0, copy: 0, zero: 0, clone: 0, unsupported: 0 };
  for (let ordinal = 0; ordinal < mm.vmas.count; ordinal++) {
    if (turns.isDue()) await turns.next();
    const slot = mm.vmas.slot(ordinal);
    const start = mm.vmas.start(slot);
    const end = mm.vmas.end(slot);
    const copy = tally.copy[ordinal]!;
    const zero = tally.zero[ordinal]!;
    const clone = tally.clone[ordinal]!;
    const unsupported = tally.unsupported[ordinal]!;
    const absent = end - start - copy - zero - clone - unsupported;
    const pages: PageCounts = { absent, copy, zero, clone, unsupported };
    vmas.push({ start: addressOf(start), end: addressOf(end), pages });
    total.absent += absent;
    total.copy += copy;
    total.zero += zero;
    total.clone += clone;
    total.unsupported += unsupported;
  }
  return { source, vmas, pages: total, ldtEntries: ldt.length / LDT_ENTRY_SIZE };
}
