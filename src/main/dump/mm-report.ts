/** The pages of an mm by class, per VMA and in total. */
import { LDT_ENTRY_SIZE } from '../../mmu/calls/ldt.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGE_CLASS, RULE } from '../../shared/dump/page-class.ts';
import type { VmaTallies } from '../../shared/dump/vma-tally.ts';
import { addressOf } from '../../shared/page.ts';
import type { MemoryUsage } from '../image/memory-usage.ts';
import type { Yielder } from '../job/stop.ts';
import type { LeftOut } from './plan.ts';
import type { MmReport, PageCounts, VmaReport } from './report.ts';

const { COPY, ZERO, CLONE, UNSUPPORTED } = PAGE_CLASS;

/** The report of an mm without its memory usage, for which all mms have to be known. */
export type PagesReport = Omit<MmReport, keyof MemoryUsage>;

/** What a report needs of an mm, noted while its VMAs do not change. */
export interface NotedMm {
  readonly source: string;
  /** Two elements for each VMA: its first page, and the first page after it. */
  readonly ranges: Float64Array;
  /** Pages behind bad tables, by the ordinal of their VMA. No worker counts them. */
  readonly behindBadTables: ReadonlyMap<number, number>;
  readonly ldtEntries: number;
}

/**
 * Notes what the report needs of mm number `ordinal`. Throws AbortError through `yielder`.
 * Precondition: the mmap lock is held.
 */
export async function noteMm(
  { vmas }: Mm,
  ordinal: number,
  source: string,
  ldt: Uint8Array,
  leftOut: readonly LeftOut[],
  yielder: Yielder,
): Promise<NotedMm> {
  const ranges = new Float64Array(vmas.count * 2);
  for (let vma = 0; vma < vmas.count; vma++) {
    if (yielder.isDue()) await yielder.yield();
    const slot = vmas.slot(vma);
    ranges[vma * 2] = vmas.start(slot);
    ranges[vma * 2 + 1] = vmas.end(slot);
  }
  const behindBadTables = new Map<number, number>();
  for (const { mm, start, end, rule } of leftOut) {
    if (mm !== ordinal || rule !== RULE.TABLE_BAD) continue;
    const vma = vmas.find(start); // the range of a bad table lies in one VMA
    behindBadTables.set(vma, (behindBadTables.get(vma) ?? 0) + end - start);
  }
  return { source, ranges, behindBadTables, ldtEntries: ldt.length / LDT_ENTRY_SIZE };
}

/**
 * Makes the report of an mm from what a pass has counted. `base` is the number of the mm's first
 * VMA in `tallies`. Throws AbortError through `yielder`.
 */
export async function mmReport(
  { source, ranges, behindBadTables, ldtEntries }: NotedMm,
  tallies: VmaTallies,
  base: number,
  yielder: Yielder,
): Promise<PagesReport> {
  const vmas: VmaReport[] = [];
  const total = { absent: 0, copy: 0, zero: 0, clone: 0, unsupported: 0 };
  for (let vma = 0; vma < ranges.length / 2; vma++) {
    if (yielder.isDue()) await yielder.yield();
    const start = ranges[vma * 2]!;
    const end = ranges[vma * 2 + 1]!;
    const copy = tallies.pages(base + vma, COPY);
    const zero = tallies.pages(base + vma, ZERO);
    const clone = tallies.pages(base + vma, CLONE);
    const unsupported = tallies.pages(base + vma, UNSUPPORTED) + (behindBadTables.get(vma) ?? 0);
    const absent = end - start - copy - zero - clone - unsupported;
    const pages: PageCounts = { absent, copy, zero, clone, unsupported };
    vmas.push({ start: addressOf(start), end: addressOf(end), pages });
    total.absent += absent;
    total.copy += copy;
    total.zero += zero;
    total.clone += clone;
    total.unsupported += unsupported;
  }
  return { source, vmas, pages: total, ldtEntries };
}
