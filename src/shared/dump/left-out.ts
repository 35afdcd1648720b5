/** Mappings of which nothing is stored: rows 1 and 2 of docs/CLASSIFICATION.md. */
import { VM } from '../vm-flags.ts';
import type { UnsupportedPolicy } from './tasks.ts';

export interface LeftOutPolicy {
  readonly hugetlb: UnsupportedPolicy;
  /** VM_DONTDUMP is honoured. */
  readonly dontDump: boolean;
}

/** VM_* bits: a mapping with one of them is described, and none of its pages looked at. */
export function leftOutFlags({ hugetlb, dontDump }: LeftOutPolicy): number {
  return VM.IO | (hugetlb === 'copy' ? 0 : VM.HUGETLB) | (dontDump ? VM.DONTDUMP : 0);
}
