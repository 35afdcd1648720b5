/** Whether a page is all zeros: every bit of it counts, and no byte beside it does. */
import { describe, expect, it } from 'vitest';
import { MachineParts } from '../../../src/mmu/mm/machine-parts.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { zeroTestsOf } from '../../../src/workers/classify/zero-test.ts';
import { KERNELS } from '../../support/machine/kernels.ts';
import { testMachine } from '../../support/machine/machine.ts';

describe('a page of zeros', () => {
  it.each(KERNELS)('is told by %s', (_, kernels) => {
    const parts = new MachineParts(testMachine({ memory: 4 * MiB }).handle);
    const isZero = zeroTestsOf(parts, kernels)[0]!;
    const pfn = 300;
    const at = pfn * PAGE_SIZE;
    for (const neighbour of [pfn - 1, pfn + 1]) parts.memory.page(neighbour).fill(0xff);
    const page = parts.memory.page(pfn);
    page.fill(0);
    expect(isZero(at)).toBe(true);
    for (let bit = 0; bit < PAGE_SIZE * 8; bit++) {
      page[bit >> 3] = 1 << (bit & 7);
      if (isZero(at)) expect.fail(`bit ${bit} is set`);
      page[bit >> 3] = 0;
    }
    expect(isZero(at)).toBe(true);
  });
});
