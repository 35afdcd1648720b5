/** What a dump could not store, with the reasons. */
import type { Mm } from '../../mmu/mm/mm.ts';
import { ruleName } from '../../shared/dump/page-class.ts';
import type { UnsupportedRun } from '../../shared/dump/tasks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, vpnOf } from '../../shared/page.ts';
import { describeVma } from '../job/held-mms.ts';
import type { LeftOut } from './plan.ts';

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

/** What was left out for these reasons before any PTE was looked at. */
export function leftOutPages(leftOut: readonly LeftOut[], ...wanted: number[]): SkippedPages[] {
  return leftOut
    .filter(({ rule }) => wanted.includes(rule))
    .map(({ mm, start, end, rule }) => {
      return { mm, start: addressOf(start), end: addressOf(end), reason: ruleName(rule) };
    });
}

/** What a worker could not store. */
export function skippedRun({ mm, start, pages, rule }: UnsupportedRun): SkippedPages {
  return { mm, start: addressOf(start), end: addressOf(start + pages), reason: ruleName(rule) };
}

export function byPlace(a: SkippedPages, b: SkippedPages): number {
  return a.mm - b.mm || a.start - b.start;
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
