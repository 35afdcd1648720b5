/** VMAs whose pages a dump does not look at: rows 1 and 2 of docs/CLASSIFICATION.md. */
import { VM } from '../vm-flags.ts';
import { RULE } from './page-class.ts';
import type { UnsupportedPolicy } from './tasks/pass-task.ts';

/** The options of a dump that decide it. */
export interface LeftOutPolicy {
  readonly hugetlb: UnsupportedPolicy;
  /** Pages of VM_DONTDUMP mappings are left out. */
  readonly dontDump: boolean;
}

/** VM_* bits. A VMA that has one of them gets a record, but none of its pages is looked at. */
export function leftOutFlags({ hugetlb, dontDump }: LeftOutPolicy): number {
  return VM.IO | (hugetlb === 'copy' ? 0 : VM.HUGETLB) | (dontDump ? VM.DONTDUMP : 0);
}

/** The rule by which a VMA with these flags is left out, or 0. VM_DONTDUMP precedes VM_HUGETLB. */
export function ruleOfLeftOut(flags: number, { hugetlb, dontDump }: LeftOutPolicy): number {
  if ((flags & VM.IO) !== 0) return RULE.VM_IO;
  if ((flags & VM.DONTDUMP) !== 0 && dontDump) return RULE.DONTDUMP;
  return (flags & VM.HUGETLB) !== 0 && hugetlb !== 'copy' ? RULE.HUGETLB : 0;
}
