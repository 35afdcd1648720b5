/**
 * Invariants checked:
 * - a frame that was handed out is not handed out again before it is freed
 * - the counter equals what the lists hold, and free + used = managed, after every step
 * - runs are contiguous, huge blocks are aligned to 2 MiB
 * - a zeroed frame is zero, whatever it held before
 * - once everything is freed, the largest blocks are whole again
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../../src/mmu/machine/machine.ts';
import { MAX_BLOCK } from '../../src/mmu/physical/frame-allocator.ts';
import { MiB, PAGE_SIZE } from '../../src/shared/page.ts';
import { testMachine } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

type Step =
  | { readonly kind: 'one' | 'zeroed' | 'huge' }
  | { readonly kind: 'run'; readonly wanted: number }
  | { readonly kind: 'free'; readonly which: number; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom<Step>({ kind: 'one' }, { kind: 'zeroed' }, { kind: 'huge' }),
  fc.record({ kind: fc.constant('run' as const), wanted: fc.integer({ min: 1, max: 700 }) }),
  fc.record({
    kind: fc.constant('free' as const),
    which: fc.nat(),
    count: fc.integer({ min: 1, max: 600 }),
  }),
);

/** Takes frames as the step says; returns an empty list if there are none. */
function take(machine: Machine, wish: Exclude<Step, { kind: 'free' }>): number[] {
  const { allocator, memory, thread } = machine.parts;
  try {
    if (wish.kind === 'one') return [allocator.allocate(thread)];
    if (wish.kind === 'run') {
      const { first, count } = allocator.allocateRun(wish.wanted, thread);
      expect(count).toBeLessThanOrEqual(wish.wanted);
      return Array.from({ length: count }, (_, index) => first + index);
    }
    if (wish.kind === 'zeroed') {
      const pfn = allocator.allocateZeroed(thread);
      expect(memory.page(pfn).every((byte) => byte === 0)).toBe(true);
      return [pfn];
    }
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOMEM' });
    return [];
  }
  const first = allocator.tryAllocateHuge(thread, true);
  expect(first % MAX_BLOCK).toBe(0);
  return first === 0 ? [] : Array.from({ length: MAX_BLOCK }, (_, index) => first + index);
}

describe('the frame allocator', () => {
  it('never loses or doubles a frame', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const machine = testMachine({ memory: 8 * MiB, deviceMemory: 3 * PAGE_SIZE });
        const { allocator, gate, memory, thread } = machine.parts;
        gate.tryEnter(thread);
        const used = new Set<number>();
        for (const wish of steps) {
          if (wish.kind === 'free') {
            const frames = [...used].slice(wish.which % (used.size + 1)).slice(0, wish.count);
            for (const pfn of frames) {
              used.delete(pfn);
              allocator.put(pfn, thread);
            }
          } else {
            for (const pfn of take(machine, wish)) {
              expect(used.has(pfn)).toBe(false);
              used.add(pfn);
              memory.page(pfn).fill(0xee);
            }
          }
          expect(allocator.countFree(thread)).toBe(allocator.freeFrames);
          expect(allocator.freeFrames + used.size).toBe(allocator.managedFrames);
        }
        for (const pfn of used) allocator.put(pfn, thread);
        expect(allocator.freeFrames).toBe(allocator.managedFrames);
        for (let block = 1; block < 3; block++) {
          expect(allocator.tryAllocateHuge(thread, true)).not.toBe(0);
        }
      }),
      { numRuns: IS_LONG ? 1500 : 60 },
    );
  });
});
