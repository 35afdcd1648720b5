/**
 * The classes of pages in a dump, and the rules that lead to them. The number of a rule is its row
 * in docs/CLASSIFICATION.md. A second rule of the same row has that number plus 32.
 */

/** Values of the class in the run table. A page of class 0, ABSENT, is never in a run. */
export const PAGE_CLASS = {
  ABSENT: 0,
  COPY: 1,
  ZERO: 2,
  CLONE: 3,
  UNSUPPORTED: 4,
  GUARD: 5, // has no content, but is recorded: a guard page
  PARENT: 6, // has content, which the parent image holds
} as const;

/** Numbers of the rules. */
export const RULE = {
  VM_IO: 1,
  HUGETLB: 2,
  DONTDUMP: 34,
  NO_TABLE: 3,
  TABLE_BAD: 35,
  NO_ENTRY: 5,
  BAD_SWAP: 6,
  GUARD: 7,
  POISONED: 39,
  NO_NORMAL_PAGE: 8,
  NO_FRAME: 40,
  MAPPING_WITHOUT_FILE: 9,
  OTHER_MAPPING: 10,
  LIVING_FILE: 11,
  UNREACHABLE_FILE_OWNER: 12,
  WRITABLE_ZERO_PAGE: 13,
  ZERO_PAGE: 14,
  RESERVED: 15,
  NO_MAPPING: 16,
  VDSO: 48,
  ALL_ZERO: 17,
  CLONE: 18,
  COPY: 19,
} as const;

const NAMES: { readonly [rule: number]: string } = {
  [RULE.VM_IO]: 'the mapping is VM_IO: reading a device has side effects',
  [RULE.HUGETLB]: 'the mapping is VM_HUGETLB',
  [RULE.DONTDUMP]: 'the mapping is VM_DONTDUMP',
  [RULE.NO_TABLE]: 'no page table at some level',
  [RULE.NO_ENTRY]: 'no entry',
  [RULE.TABLE_BAD]: 'bad page table entry above the PTE',
  [RULE.BAD_SWAP]: 'a swap entry whose slot is not in use',
  [RULE.GUARD]: 'guard page',
  [RULE.POISONED]: 'poison marker',
  [RULE.NO_NORMAL_PAGE]: 'a frame without a normal page (PFN map)',
  [RULE.NO_FRAME]: 'the entry points beyond physical memory',
  [RULE.MAPPING_WITHOUT_FILE]: "a file's page in a mapping without a file",
  [RULE.OTHER_MAPPING]: "a page of a file other than the mapping's",
  [RULE.LIVING_FILE]: 'page of a living file: the backing store has it',
  [RULE.UNREACHABLE_FILE_OWNER]: 'page of a file that nothing else can supply, stored here',
  [RULE.WRITABLE_ZERO_PAGE]: 'writable ZERO_PAGE',
  [RULE.ZERO_PAGE]: 'ZERO_PAGE',
  [RULE.RESERVED]: 'reserved page',
  [RULE.NO_MAPPING]: 'page without a mapping',
  [RULE.VDSO]: 'page of the vdso',
  [RULE.ALL_ZERO]: 'all bytes are zero',
  [RULE.CLONE]: 'an earlier mm of this dump stores the same frame',
  [RULE.COPY]: 'has content',
};

/** The row of docs/CLASSIFICATION.md that a rule belongs to. */
export function rowOf(rule: number): number {
  return rule & 31;
}

/** The reason that a rule gives, for messages and reports. */
export function ruleName(rule: number): string {
  return NAMES[rule] ?? `rule ${rule}`;
}
