/** Pages of each class, per VMA, from the runs; and what could not be stored, with the reasons. */
import type { Mm } from '../../mmu/mm.ts';
import { PAGE_CLASS, RULE, ruleName } from '../../shared/dump/page-class.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, vpnOf } from '../../shared/page.ts';
import type { Turns } from '../stop.ts';
import type { LeftOut } from './plan.ts';
import { RunCursor } from './run-cursor.ts';
import { describeVma } from './stopped-mm.ts';

const { COPY, ZERO, CLONE, UNSUPPORTED, GUARD } = PAGE_CLASS;

/** Pages by class of every VMA of an mm, by ordinal. ABSENT is what remains. */
export interface MmTally {
  readonly copy: Int32Array;
  readonly zero: Int32Array;
  readonly clone: Int32Array;
  readonly unsupported: Float64Array;
  readonly guard: Int32Array;
}

/** Neighbouring pages that were left out. Addresses in bytes. */
export interface SkippedPages {
  /** Ordinal of the address space. */
  readonly mm: number;
  /** Address of the first byte. */
  readonly start: number;
  /** First address after them. */
  readonly end: number;
  /** The policy that left them out, and the rule that it stands for. */
  readonly reason: string;
}

/** The units of one mm: [first, last). */
export interface UnitRange {
  readonly first: number;
  readonly last: number;
}

export async function tallyMm(
  mm: Mm,
  ordinal: number,
  units: WorkUnits,
  range: UnitRange,
  runs: Int32Array,
  leftOut: readonly LeftOut[],
  skipped: SkippedPages[],
  turns: Turns,
): Promise<MmTally> {
  const { vmas } = mm;
  const count = vmas.count;
  const tally: MmTally = {
    copy: new Int32Array(count),
    zero: new Int32Array(count),
    clone: new Int32Array(count),
    unsupported: new Float64Array(count),
    guard: new Int32Array(count),
  };
  const byClass: (Int32Array | Float64Array)[] = [];
  byClass[COPY] = tally.copy;
  byClass[ZERO] = tally.zero;
  byClass[CLONE] = tally.clone;
  byClass[UNSUPPORTED] = tally.unsupported;
  byClass[GUARD] = tally.guard;
  const cursor = new RunCursor(units, runs, range.first, range.last);
  for (let vma = 0; vma < count; vma++) {
    const end = vmas.end(vmas.slot(vma));
    if (turns.isDue()) await turns.next();
    for (; cursor.start < end; cursor.next()) {
      if (turns.isDue()) await turns.next();
      byClass[cursor.pageClass]![vma]! += cursor.count;
      if (cursor.pageClass !== UNSUPPORTED) continue;
      const start = addressOf(cursor.start);
      const reason = ruleName(cursor.rule);
      skipped.push({ mm: ordinal, start, end: start + addressOf(cursor.count), reason });
    }
  }
  for (const { mm: of, start, end, rule } of leftOut) {
    if (of !== ordinal || rule !== RULE.TABLE_BAD) continue;
    tally.unsupported[vmas.find(start)]! += end - start; // a bad table's range lies in one VMA
  }
  return tally;
}

/** What was left out for these reasons before any PTE was looked at. */
export function leftOutPages(leftOut: readonly LeftOut[], ...wanted: number[]): SkippedPages[] {
  return leftOut
    .filter(({ rule }) => wanted.includes(rule))
    .map(({ mm, start, end, rule }) => {
      return { mm, start: addressOf(start), end: addressOf(end), reason: ruleName(rule) };
    });
}

/** The error of a dump that must not leave anything out; names the first page by mm and address. */
export function unsupportedError(mms: readonly Mm[], skipped: SkippedPages): MmdumpError {
  const { mm, start, reason } = skipped;
  const vma = describeVma(mms[mm]!, vpnOf(start));
  return new MmdumpError(
    'PAGE_UNSUPPORTED',
    `mm ${mm}, ${vma.text}, page ${hex(start)}: ${reason}; ` +
      "set the option unsupported to 'skip' or 'copy' to go on",
    { mm, vmaStart: vma.start, vmaEnd: vma.end, address: start, reason },
  );
}
