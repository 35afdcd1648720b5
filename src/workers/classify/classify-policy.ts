import type { ZeroTest } from './zero-test.ts';

/** The options of a dump that decide about classes. */
export interface ClassifyPolicy {
  /** Row 17: pages of zeros become ZERO. If false, row 14 (the zero page) becomes COPY as well. */
  readonly detectZero: boolean;
  /** Pages that no rule can store become COPY, if they have a frame and the format allows it. */
  readonly copyUnsupported: boolean;
  /** VM_* flags: pages of a VMA with any of them are not stored. */
  readonly leftOut: number;
  /** One test for each bank. */
  readonly zeroTests: readonly ZeroTest[];
}
