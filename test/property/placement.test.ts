/**
 * Invariants checked, for random mappings and unmappings:
 * - a mapping without a given address goes to the highest gap below mmap_base that can hold it, as
 *   found by a search over all VMAs
 * - 256 pages below a stack stay free
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../src/mmu/machine/address-space.ts';
import { PAGE_SIZE } from '../../src/shared/page.ts';
import { testMachine } from '../support/machine/machine.ts';

const MMAP_BASE = 0x7fff_f7ff_f000;
const ANON = ['private', 'anonymous'] as const;
/** mmap_min_addr */
const LOWEST = 0x10000;
const GROWSDOWN = 0x100;
const GAP = 256 * PAGE_SIZE;

/**
 * Linux's rule: take the highest gap; if a stack lies right above it, search again below its guard
 * gap.
 */
function highest(space: AddressSpace, length: number): number {
  const vmas = space.vmas();
  for (let limit = MMAP_BASE; ; ) {
    const ends = [limit, ...vmas.map(({ start }) => start)].filter((end) => end <= limit);
    const isFree = (end: number): boolean =>
      end - length >= LOWEST && !vmas.some((vma) => vma.start < end && vma.end > end - length);
    const end = Math.max(...ends.filter(isFree));
    const above = vmas.find(({ start }) => start >= end);
    const isStack = above !== undefined && (above.flags & GROWSDOWN) !== 0;
    if (!isStack || above.start - GAP >= end) return end - length;
    limit = above.start - GAP;
  }
}

const step = fc.record({
  op: fc.constantFrom('map', 'map', 'map', 'stack', 'unmap', 'shrink', 'protect', 'move'),
  pages: fc.integer({ min: 1, max: 12 }),
  which: fc.nat(40),
  at: fc.nat(12),
});

describe('the place of a mapping', () => {
  it('is the highest gap that takes it', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const space = testMachine({ maxAddressSpaces: 1 }).createAddressSpace();
        steps.forEach(({ op, pages, which, at }, number) => {
          const length = pages * PAGE_SIZE;
          const vmas = space.vmas();
          const vma = vmas[which % Math.max(1, vmas.length)];
          if (op === 'map' || op === 'stack' || vma === undefined) {
            const expected = highest(space, length);
            const flags = op === 'stack' ? ([...ANON, 'growsdown'] as const) : ANON;
            // Neighbours that differ do not merge, so that there are many VMAs.
            const prot = number % 2 === 0 ? 'rw' : 'r';
            expect(space.mmap({ length, prot, flags })).toBe(expected);
            return;
          }
          const start = Math.min(vma.start + at * PAGE_SIZE, vma.end - PAGE_SIZE);
          if (op === 'unmap') space.munmap(start, length);
          else if (op === 'shrink') space.mremap(vma.start, vma.end - vma.start, PAGE_SIZE);
          else if (op === 'move') space.mremap(start, PAGE_SIZE, 2 * PAGE_SIZE, ['maymove']);
          else space.mprotect(start, Math.min(length, vma.end - start), 'rx');
        });
      }),
      { numRuns: 300 },
    );
  });
});
