/**
 * Invariants checked, after every operation of a random history of several forked mms:
 * - an access succeeds exactly where the model has a page with that permission, and shows its bytes
 * - the VMAs cover exactly the model's pages, with its protections; they are sorted and disjoint
 * - no entry lies outside a VMA; every frame's counts, mapping and index match the tables; a frame
 *   with a writable leaf in a private mapping has no other leaf; the same holds for swap slots
 * - free frames + used frames = all, free slots + used slots = all; at the end everything is free
 * - pages that lie in a backing are pages like any others, and a page with an origin was not written
 * - all of this also holds when memory is so short that pages constantly go to swap and come back
 *
 * The model (`model-mm.ts`) is a map from page to protection and bytes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MiB } from '../../src/shared/page.ts';
import { type Operation, operations, Run, type Shape } from '../support/machine/forked-run.ts';
import { assertTablesTrue } from '../support/machine/invariants.ts';
import { freeFrames } from '../support/machine/machine.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SHAPES: readonly Shape[] = [
  {
    name: 'few pages',
    pages: 24,
    memory: 8 * MiB,
    steps: 60,
    runs: 30,
    meets: ['merged pages', 'forks', 'swapped pages', 'backed pages', 'pages put back'],
  },
  {
    name: 'short of memory',
    pages: 200,
    memory: 1.5 * MiB,
    steps: 60,
    runs: 12,
    meets: ['memory pressure', 'swapped pages', 'forks', 'backed pages', 'placed files'],
  },
  {
    name: 'huge pages',
    pages: 1400,
    memory: 24 * MiB,
    steps: 40,
    runs: 4,
    meets: [
      ...['huge pages', 'swapped pages', 'forks', 'backed pages'],
      ...(ZERO_PAGE ? ['the huge zero page'] : []),
    ],
  },
];

/** The first operations of every history of a shape, so that random steps reach what it tests. */
function beginning({ name, pages }: Shape): Operation[] {
  const all = { mm: 0, page: 0, count: pages };
  const map = { op: 'map', ...all, prot: 'rw', what: 'anonymous' } as const;
  const write = { op: 'write', ...all, value: 1 } as const;
  const putBack = [
    { op: 'map', mm: 0, page: 4, count: 12, prot: 'rw', what: 'backed' } as const,
    { op: 'read', mm: 0, page: 4, count: 8 } as const,
    { op: 'fork', mm: 0 } as const,
    { op: 'reclaim', mm: 0, count: 24 } as const,
  ];
  if (name === 'huge pages') return [map, ...hugeBeginning(all)];
  if (name === 'few pages') {
    return [...putBack, map, { op: 'advise', ...all, advice: 'mergeable' }, write];
  }
  const fork = { op: 'fork', mm: 0 } as const;
  return [map, write, fork, { ...write, value: 2 }, { ...write, mm: 1, value: 3 }];
}

/**
 * Lets some pages lie in a backing, reads a granule (which maps the huge zero page, if there is one),
 * swaps out a huge page as a whole, brings back one page of it, and forks.
 */
function hugeBeginning(all: { mm: number; page: number; count: number }): Operation[] {
  const one = { ...all, page: 600, count: 1 };
  const backed = { op: 'map', ...all, page: 1200, count: 100, prot: 'rw', what: 'backed' } as const;
  return [
    backed,
    { op: 'advise', ...all, advice: 'hugepage' },
    { op: 'read', ...one, page: 100 },
    { op: 'write', ...one, value: 1 },
    { op: 'advise', ...all, page: 576, count: 512, advice: 'pageout' },
    { op: 'write', ...one, value: 2 },
    { op: 'fork', mm: 0 },
    { op: 'fork', mm: 0 },
  ];
}

describe('several forked mms', () => {
  it.each(SHAPES.map((shape) => [shape.name, shape] as const))(
    'agree with maps from page to bytes: %s',
    (_name, shape) => {
      const seen = new Set<string>();
      fc.assert(
        fc.property(
          fc.array(operations(shape), { maxLength: shape.steps, size: 'max' }),
          (steps) => {
            const run = new Run(shape);
            const before = freeFrames(run.machine);
            for (const step of [...beginning(shape), ...steps]) {
              const { free } = run.machine.swap;
              run.apply(step);
              const isShort = step.op === 'write' && run.machine.swap.free < free;
              if (isShort) seen.add('memory pressure');
              run.assertTrue();
            }
            run.assertContent();
            run.assertTrue();
            for (const each of run.seen) seen.add(each);
            run.end();
            assertTablesTrue(run.machine);
            const { machine } = run;
            expect(machine.swap.free).toBe(machine.swap.total);
            machine.reclaim(MiB); // reclaims the page cache of the file
            expect(freeFrames(machine)).toBeGreaterThanOrEqual(before - 2);
          },
        ),
        { numRuns: shape.runs * (IS_LONG ? 150 : 1) },
      );
      expect(shape.meets.filter((each) => !seen.has(each))).toEqual([]);
    },
    IS_LONG ? 3_600_000 : 600_000,
  );
});
