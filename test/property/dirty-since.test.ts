/**
 * Invariant checked, for random histories: every page that has content of its own, now and at an
 * instant, and other bytes than at that instant, lies in what `dirtySince` returns. A dump with a
 * parent depends on it. Histories write, map, move, drop, fork, swap, merge and rewind pages, of
 * anonymous, shared, file and adopted memory.
 *
 * The mutants are rules of dirty bits that are not obeyed. Each of them has to be found, and is by a
 * history that is fixed, so that this does not depend on chance.
 */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { type AddressSpace, PAGE_SIZE } from 'mmdump';
import { describe, expect, it } from 'vitest';
import { dirtyInstant, dirtySince, takeSince } from '../../src/mmu/calls/dirty.ts';
import { collectDirty } from '../../src/mmu/calls/dirty-scan.ts';
import { runOn } from '../../src/mmu/machine/enter.ts';
import type { Mm } from '../../src/mmu/mm/mm.ts';
import { PG } from '../../src/mmu/physical/page-struct.ts';
import { isPresent, PTE, pfnOf } from '../../src/mmu/tables/pte.ts';
import { walkRange } from '../../src/mmu/tables/walk-range.ts';
import type { DirtyRanges } from '../../src/shared/dump/dirty-ranges.ts';
import {
  type HistoryRecipe,
  historyArbitrary,
  SWAPPED,
} from '../support/reference/reference-histories.ts';
import {
  continueTracked,
  createTracked,
  type TrackedHistory,
  type TrackedStep,
  trackedStepsArbitrary,
} from '../support/reference/tracked-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

type Look = (mm: Mm, instant: number) => DirtyRanges | undefined;
/** What a mutant undoes after a step. */
type Undo = (mm: Mm, op: string, before: Bits) => void;

/** The soft-dirty bits of an mm, and which of its mappings are clean, by their first pages. */
interface Bits {
  readonly entries: Map<number, number>;
  readonly clean: Set<number>;
}

/** Calls `visit` for each leaf of 4 KiB or 2 MiB of the mm. */
function eachEntry(mm: Mm, visit: (vpn: number, at: number, isHuge: boolean) => void): void {
  const { vmas } = mm;
  for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
    const slot = vmas.slot(ordinal);
    walkRange(mm, vmas.start(slot), vmas.end(slot), 'look', (found, vpn, end) => {
      const { at } = mm.cursor;
      const step = found === 'huge' ? 0 : 2;
      for (let page = vpn; page < end; page++) visit(page, at + (page - vpn) * step, step === 0);
    });
  }
}

const bitOf = (low: number): number => (isPresent(low) ? PTE.SOFT_DIRTY : PTE.SWAP_SOFT_DIRTY);

function bitsOf(mm: Mm): Bits {
  const entries = new Map<number, number>();
  eachEntry(mm, (vpn, at) => {
    const low = mm.cursor.words[at]!;
    if ((low & bitOf(low)) !== 0) entries.set(vpn, 1);
  });
  const clean = new Set<number>();
  for (let ordinal = 0; ordinal < mm.vmas.count; ordinal++) {
    const slot = mm.vmas.slot(ordinal);
    if (mm.vmas.isClean(slot)) clean.add(mm.vmas.start(slot));
  }
  return { entries, clean };
}

/** A checksum of each page that has content of its own. */
function contentsOf(mm: Mm): Map<number, number> {
  const contents = new Map<number, number>();
  const { memory, pages, machine } = mm;
  eachEntry(mm, (vpn, at, isHuge) => {
    const low = mm.cursor.words[at]!;
    const high = mm.cursor.words[at + 1]!;
    if (low === 0) return;
    const slot = isPresent(low) ? -1 : machine.swap.slotOf(low, high);
    if (!isPresent(low) && slot < 0) return;
    const inLeaf = isHuge ? vpn % 512 : 0;
    const frame = slot >= 0 ? machine.swap.frameOf(slot) : pfnOf(low, high) + inLeaf;
    if (slot < 0 && (!memory.has(frame) || (pages.flags(frame) & PG.RESERVED) !== 0)) return;
    contents.set(vpn, crc32(memory.page(frame)));
  });
  return contents;
}

/** Begins a period in all address spaces, and returns what checks it. */
function beginPeriod({ history }: TrackedHistory, look: Look): () => string | undefined {
  const periods = [history.space, ...history.others].map((space) => {
    return held(space, (mm) => {
      takeSince(mm, undefined);
      return { space, instant: dirtyInstant(mm), earlier: contentsOf(mm) };
    });
  });
  return () => {
    for (const { space, instant, earlier } of periods) {
      if (![history.space, ...history.others].includes(space)) continue; // it has exited
      const lost = held(space, (mm) => {
        const ranges = look(mm, instant)!;
        const isListed = (vpn: number): boolean => {
          for (let at = 0; at < ranges.length; at += 2) {
            if (vpn >= ranges[at]! && vpn < ranges[at + 1]!) return true;
          }
          return false;
        };
        for (const [vpn, bytes] of contentsOf(mm)) {
          const was = earlier.get(vpn);
          if (was !== undefined && was !== bytes && !isListed(vpn)) return vpn;
        }
        return undefined;
      });
      if (lost !== undefined) return `page ${(lost * PAGE_SIZE).toString(16)} has changed`;
    }
    return undefined;
  };
}

function held<T>(space: AddressSpace, action: (mm: Mm) => T): T {
  return runOn(space.mm, space.reference, 'write', action);
}

type History = [HistoryRecipe, TrackedStep[], TrackedStep[][]];

const historyOf: fc.Arbitrary<History> = fc.tuple(
  historyArbitrary,
  trackedStepsArbitrary,
  fc.array(trackedStepsArbitrary, { minLength: 2, maxLength: 5 }),
);

/** A page that gets the bytes back which it had before the period, and is written no more. */
const ROOM = { place: 0x5555_5556_0000, to: 0x5555_5556_0000 } as const;
const STORE = { ...ROOM, op: 'store', page: 1, space: 0 } as const;
const REWOUND: History = [
  { ...SWAPPED, steps: [] },
  [{ op: 'room', ...ROOM }, { ...STORE, value: 1 }, { op: 'snapshot' }, { ...STORE, value: 2 }],
  [[{ op: 'rewind' }]],
];

/** A page whose place is taken by another page. */
const SHIFTED: History = [
  { ...SWAPPED, steps: [] },
  [
    { op: 'room', ...ROOM },
    { ...STORE, value: 1 },
    { op: 'room', ...ROOM, place: 0x3fff_c000 },
    { ...STORE, place: 0x3fff_c000, value: 2 },
  ],
  [[{ op: 'shift', place: 0x3fff_c000, to: ROOM.place }]],
];
/** A page that is written, and goes to swap. */
const STORED: History = [
  { ...SWAPPED, steps: [] },
  [
    { op: 'room', ...ROOM },
    { ...STORE, value: 1 },
  ],
  [
    [{ ...STORE, value: 2 }],
    [
      { ...STORE, value: 3 },
      { op: 'out', ...ROOM },
    ],
  ],
];

/** Frames without marks, which their owner writes. */
const OWNED: History = [
  { ...SWAPPED, steps: [] },
  [{ op: 'frames', bank: 1, page: 0, pages: 4, place: ROOM.place }],
  [[{ op: 'own', bank: 1, page: 1, value: 9 }]],
];
/** Frames that two mappings show, and a store through one of them. */
const TWICE: History = [
  { ...SWAPPED, steps: [] },
  [
    { op: 'frames', bank: 0, page: 0, pages: 4, place: ROOM.place },
    { op: 'frames', bank: 0, page: 0, pages: 4, place: 0x5555_5556_4000 },
  ],
  [[{ ...STORE, value: 9 }]],
];

/** Runs a history and returns what went wrong. */
function run(
  [recipe, first, periods]: History,
  look: Look,
  undo: Undo | undefined,
): string | undefined {
  const tracked = createTracked(recipe);
  continueTracked(tracked, first);
  const { history } = tracked;
  try {
    for (const steps of periods) {
      const check = beginPeriod(tracked, look);
      let before = new Map<AddressSpace, Bits>();
      continueTracked(
        tracked,
        steps,
        (op) => {
          if (undo === undefined) return;
          for (const [space, bits] of before) {
            if ([history.space, ...history.others].includes(space)) {
              held(space, (mm) => undo(mm, op, bits));
            }
          }
        },
        () => {
          if (undo === undefined) return;
          const spaces = [history.space, ...history.others];
          before = new Map(spaces.map((space) => [space, held(space, bitsOf)]));
        },
      );
      const lost = check();
      if (lost !== undefined) return lost;
    }
    return undefined;
  } finally {
    history.machine.close();
  }
}

/** Takes away the bits that steps with these names have set. */
function forgets(...ops: readonly string[]): Undo {
  return (mm, op, before) => {
    if (!ops.includes(op)) return;
    eachEntry(mm, (vpn, at) => {
      const low = mm.cursor.words[at]!;
      const bit = bitOf(low);
      if ((low & bit) !== 0 && !before.entries.has(vpn)) mm.cursor.words[at] = low & ~bit;
    });
  };
}

/** Takes away all bits after steps with these names. */
function loses(...ops: readonly string[]): Undo {
  return (mm, op) => {
    if (!ops.includes(op)) return;
    eachEntry(mm, (_vpn, at) => {
      const low = mm.cursor.words[at]!;
      mm.cursor.words[at] = low & ~bitOf(low);
    });
  };
}

const withoutUnknown: Look = (mm) =>
  Float64Array.from(collectDirty(mm, { clears: false, listsUnknown: false }));

/** Clears the steps of adopted frames: nobody knows any more what somebody else has found. */
const noSteps: Undo = (mm) => {
  const marks = mm.machine.adoptedMarks!;
  for (const { pfn, pages } of mm.machine.adopted) {
    for (let frame = pfn; frame < pfn + pages; frame++) {
      if (marks.isKnown(frame) || mm.pages.mapCount(frame) > 0) mm.pages.setNext(frame, 0);
    }
  }
};

const EXAMPLES: [History][] = [[REWOUND], [SHIFTED], [STORED], [OWNED], [TWICE]];

const MUTANTS: { readonly [name: string]: readonly [Look, Undo | undefined] } = {
  'a store sets no bit': [dirtySince, forgets('write', 'zero', 'store')],
  'mremap marks nothing': [dirtySince, forgets('move', 'shift')],
  'a rewind marks nothing': [dirtySince, forgets('rewind')],
  'swap loses the bit': [dirtySince, loses('pageout', 'out')],
  'shared memory and files are trusted': [withoutUnknown, undefined],
  'nobody notes that a frame is mapped twice': [dirtySince, noSteps],
};

describe('what dirty bits tell of a period', () => {
  it('holds every page that has changed', () => {
    fc.assert(
      fc.property(historyOf, (history) => {
        expect(run(history, dirtySince, undefined)).toBeUndefined();
      }),
      { numRuns: IS_LONG ? 3000 : 25, examples: EXAMPLES },
    );
  });

  it.each(Object.entries(MUTANTS))('finds the mutant: %s', (_name, [look, undo]) => {
    const { failed } = fc.check(
      fc.property(historyOf, (history) => run(history, look, undo) === undefined),
      { numRuns: 20, endOnFailure: true, examples: EXAMPLES },
    );
    expect(failed).toBe(true);
  });
});
