/** Row 17: tests for pages of zeros, one for each bank. */

import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { isZeroPage } from '../../mmu/tables/classify.ts';
import type { KernelModules } from '../../shared/kernels.ts';
import { frameKernels } from '../copy/frame-kernels.ts';

/** Whether the page at byte `at` of the bank is all zeros. */
export type ZeroTest = (at: number) => boolean;

/**
 * One test for each bank. It is isZeroPage, which takes twice as long, without `modules` and for a
 * bank that is no memory of WebAssembly.
 */
export function zeroTestsOf(
  machine: MachineParts,
  modules: KernelModules | undefined,
): readonly ZeroTest[] {
  const { memories, offsets, words } = machine.memory;
  return memories.map((memory, bank) => {
    if (modules === undefined || memory === undefined) {
      return (at) => isZeroPage(words[bank]!, at >>> 2);
    }
    const kernels = frameKernels(modules.inside, memory, memory);
    const base = offsets[bank]! | 0;
    return (at) => kernels.isZeroPage((at + base) | 0) !== 0;
  });
}
