/** What a dump did not store, with the reasons. */
import type { Mm } from '../../mmu/mm/mm.ts';
import { RULE, ruleName } from '../../shared/dump/page-class.ts';
import type { PassReport, UnsupportedRun } from '../../shared/dump/tasks/pass-task.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, vpnOf } from '../../shared/page.ts';
import { describeVma } from '../job/held-mms.ts';
import type { LeftOut, Plan } from './plan.ts';

/** Neighbouring pages that were left out. Addresses in bytes. */
export interface SkippedPages {
  /** Ordinal of the address space. */
  readonly mm: number;
  /** Address of the first byte. */
  readonly start: number;
  /** First address after them. */
  readonly end: number;
  /** Why: the rule that applies to them, in words. */
  readonly reason: string;
}

/** The pages that were left out by the wanted rules before any PTE was looked at. */
export function leftOutPages(leftOut: readonly LeftOut[], ...wanted: number[]): SkippedPages[] {
  return leftOut
    .filter(({ rule }) => wanted.includes(rule))
    .map(({ mm, start, end, rule }) => {
      return { mm, start: addressOf(start), end: addressOf(end), reason: ruleName(rule) };
    });
}

/** A run that a worker could not store, as the report lists it. */
function skippedRun({ mm, start, pages, rule }: UnsupportedRun): SkippedPages {
  return { mm, start: addressOf(start), end: addressOf(start + pages), reason: ruleName(rule) };
}

/** Compares by mm, then by address. */
export function byPlace(a: SkippedPages, b: SkippedPages): number {
  return a.mm - b.mm || a.start - b.start;
}

/** The pages that could not be stored, ascending by mm and address. */
export function unsupportedPages(
  { leftOut }: Plan,
  reports: readonly PassReport[],
): readonly SkippedPages[] {
  const found = reports.flatMap(({ unsupported }) => unsupported.map(skippedRun));
  return [...leftOutPages(leftOut, RULE.TABLE_BAD), ...found].sort(byPlace);
}

/**
 * PAGE_UNSUPPORTED, the error of a dump that must not leave anything out. It names mm, VMA, address
 * and reason of the first page of `skipped`.
 */
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
