/** Row 17: tests for pages of zeros, one for each bank. */

import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { isZeroPage } from '../../mmu/tables/classify.ts';
import type { KernelModules } from '../../shared/kernels.ts';
import { frameKernels } from '../copy/frame-kernels.ts';

/** Whether the page at byte `at` of the bank is all zeros. */
export type ZeroTest = (at: number) => boolean;

/** One test for each bank. Without `modules` it is isZeroPage, which takes twice as long. */
export function zeroTestsOf(
  machine: MachineParts,
  modules: KernelModules | undefined,
): readonly ZeroTest[] {
  const { memories, words } = machine.memory;
  return memories.map((memory, bank) => {
    if (modules === undefined) return (at) => isZeroPage(words[bank]!, at >>> 2);
    const kernels = frameKernels(modules.inside, memory, memory);
    return (at) => kernels.isZeroPage(at) !== 0;
  });
}
