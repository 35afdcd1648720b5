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

/** `util.inspect.custom`: node:util takes milliseconds to load. */
const INSPECT: symbol = Symbol.for('nodejs.util.inspect.custom');
const { COPY, ZERO, CLONE, UNSUPPORTED, PARENT } = PAGE_CLASS;

/** The pages of an mm, counted. */
export interface CountedMm {
  readonly noted: NotedMm;
  readonly pages: PageCounts;
  /** Pages of each VMA by class, five elements for each: see `COUNTED`. */
  readonly perVma: Int32Array;
}

/** The classes in CountedMm.perVma, in order. */
const COUNTED = [COPY, ZERO, CLONE, UNSUPPORTED, PARENT] as const;

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
 * Adds up what a pass has counted. `base` is the number of the mm's first VMA in `tallies`, whose
 * memory the next dump will use again. Throws AbortError through `yielder`.
 */
export async function countMm(
  noted: NotedMm,
  tallies: VmaTallies,
  base: number,
  yielder: Yielder,
): Promise<CountedMm> {
  const { ranges, behindBadTables } = noted;
  const count = ranges.length / 2;
  const perVma = new Int32Array(count * COUNTED.length);
  const total = [0, 0, 0, 0, 0] as [number, number, number, number, number];
  let size = 0;
  for (let vma = 0, at = 0; vma < count; vma++) {
    if (yielder.isDue()) await yielder.yield();
    size += ranges[vma * 2 + 1]! - ranges[vma * 2]!;
    for (let index = 0; index < COUNTED.length; index++, at++) {
      const pages = tallies.pages(base + vma, COUNTED[index]!);
      perVma[at] = pages;
      total[index]! += pages;
    }
  }
  for (const [vma, pages] of behindBadTables) {
    perVma[vma * COUNTED.length + 3]! += pages;
    total[3] += pages;
  }
  return { noted, pages: pageCounts(size, ...total), perVma };
}

function pageCounts(
  size: number,
  copy: number,
  zero: number,
  clone: number,
  unsupported: number,
  parent: number,
): PageCounts {
  const absent = size - copy - zero - clone - unsupported - parent;
  return { absent, copy, zero, clone, unsupported, parent };
}

/**
 * The report of an mm. Its list of VMAs is made when somebody looks at it for the first time: with
 * many mappings to make it takes longer than to dump them.
 */
export function mmReport(counted: CountedMm, usage: MemoryUsage): MmReport {
  const { noted, pages } = counted;
  const { source, ldtEntries } = noted;
  let vmas: readonly VmaReport[] | undefined;
  const report: MmReport = {
    source,
    get vmas() {
      vmas ??= vmaReports(counted);
      return vmas;
    },
    pages,
    ldtEntries,
    ...usage,
  };
  // console.log would show [Getter].
  Object.defineProperty(report, INSPECT, { value: () => ({ ...report }) });
  return report;
}

function vmaReports({ noted: { ranges }, perVma }: CountedMm): VmaReport[] {
  const reports: VmaReport[] = [];
  for (let vma = 0, at = 0; vma < ranges.length / 2; vma++, at += COUNTED.length) {
    const start = ranges[vma * 2]!;
    const end = ranges[vma * 2 + 1]!;
    const counts = perVma.subarray(at, at + COUNTED.length);
    const [copy, zero, clone, unsupported, parent] = counts;
    const pages = pageCounts(end - start, copy!, zero!, clone!, unsupported!, parent!);
    reports.push({ start: addressOf(start), end: addressOf(end), pages });
  }
  return reports;
}
