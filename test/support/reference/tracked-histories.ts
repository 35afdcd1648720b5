/**
 * Histories for the tests of dirty bits: those of `reference-histories.ts`, with snapshots, rewinds,
 * reclaim and adopted memory, which has marks in one of two banks.
 */
import fc from 'fast-check';
import { MmdumpError, PAGE_SIZE, type Snapshot } from 'mmdump';
import {
  continueHistory,
  createHistory,
  type History,
  type HistoryRecipe,
  type Step,
  stepsArbitrary,
} from './reference-histories.ts';

const BANK_PAGES = 24;
/** Few places, so that mappings of adopted memory are mapped again and over each other. */
const PLACES = [0x3fff_c000, 0x5555_5556_0000, 0x5555_5556_4000, 0x5555_5556_8000] as const;

const bank = fc.nat({ max: 1 });
const adoptedPage = fc.nat({ max: BANK_PAGES - 1 });
const extraStep = fc.oneof(
  fc.record({ op: fc.constantFrom('snapshot', 'rewind', 'rewind', 'reclaim', 'twice') }),
  fc.record({
    op: fc.constant('frames' as const),
    bank,
    page: adoptedPage,
    pages: fc.integer({ min: 1, max: 8 }),
    place: fc.constantFrom(...PLACES),
  }),
  fc.record({
    op: fc.constantFrom('room' as const, 'shift' as const, 'shift' as const, 'out' as const),
    place: fc.constantFrom(...PLACES),
    to: fc.constantFrom(...PLACES),
  }),
  fc.record({ op: fc.constant('own' as const), bank, page: adoptedPage, value: fc.nat(255) }),
  fc.record({
    op: fc.constant('store' as const),
    place: fc.constantFrom(...PLACES),
    page: fc.nat({ max: 3 }),
    value: fc.nat(255),
    /** Which of the address spaces stores. */
    space: fc.nat({ max: 2 }),
  }),
);
type ExtraStep = typeof extraStep extends fc.Arbitrary<infer T> ? T : never;
export type TrackedStep = ExtraStep | { readonly op: 'steps'; readonly steps: readonly Step[] };

export const trackedStepsArbitrary: fc.Arbitrary<TrackedStep[]> = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: extraStep },
    {
      weight: 1,
      arbitrary: stepsArbitrary.map((steps) => ({ op: 'steps' as const, steps })),
    },
  ),
  { minLength: 1, maxLength: 8, size: 'max' },
);

/** A history whose machine has adopted memory. */
export interface TrackedHistory {
  readonly history: History;
  readonly memories: readonly Uint8Array[];
  readonly marks: Uint8Array;
  snapshot: Snapshot | undefined;
}

export function createTracked(recipe: HistoryRecipe): TrackedHistory {
  const memories = [0, 1].map(() => new Uint8Array(new SharedArrayBuffer(BANK_PAGES * PAGE_SIZE)));
  const marks = new Uint8Array(new SharedArrayBuffer(BANK_PAGES));
  const banks = [
    { memory: memories[0]!.buffer as SharedArrayBuffer, dirty: marks },
    memories[1]!.buffer as SharedArrayBuffer,
  ];
  const history = createHistory(recipe, { banks, maxAddressSpaces: 12 });
  return { history, memories, marks, snapshot: undefined };
}

/** Goes on with these steps. `after` is called after each of them. */
export function continueTracked(
  tracked: TrackedHistory,
  steps: readonly TrackedStep[],
  after: (op: string) => void = () => {},
  before: () => void = () => {},
): void {
  for (const step of steps) {
    if (step.op === 'steps') {
      for (const one of step.steps) {
        if (one.op === 'fork' && tracked.history.others.length > 1) continue;
        before();
        continueHistory(tracked.history, [one]);
        after(one.op);
      }
      continue;
    }
    before();
    try {
      apply(tracked, step);
    } catch (error) {
      if (!(error instanceof MmdumpError)) throw error;
    }
    after(step.op);
  }
}

function apply(tracked: TrackedHistory, step: ExtraStep): void {
  const { history, memories, marks } = tracked;
  const spaces = [history.space, ...history.others];
  switch (step.op) {
    case 'snapshot': {
      const { snapshot } = tracked;
      tracked.snapshot = undefined;
      snapshot?.drop();
      tracked.snapshot = history.machine.snapshot();
      break;
    }
    case 'rewind':
      tracked.snapshot?.rewind();
      break;
    case 'reclaim':
      history.machine.reclaim(0x100_0000);
      break;
    case 'twice': // the next writes find the same frames in two address spaces
      history.others.at(-1)?.mapFrames({
        length: 4 * PAGE_SIZE,
        prot: 'rw',
        address: PLACES[1],
        flags: ['fixed'],
      });
      break;
    case 'frames': {
      const { bank: of, page, place } = step;
      const length = Math.min(step.pages, BANK_PAGES - page) * PAGE_SIZE;
      const where = { bank: of, offset: page * PAGE_SIZE, address: place };
      history.space.mapFrames({ ...where, length, prot: 'rw', flags: ['fixed'] });
      break;
    }
    case 'room':
    case 'shift':
    case 'out': {
      const { op, place, to } = step;
      const { space } = history;
      const length = 4 * PAGE_SIZE;
      if (op === 'out') space.madvise(place, length, 'pageout');
      else if (op === 'shift') space.mremap(place, length, length, ['maymove', 'fixed'], to);
      else {
        const flags = ['private', 'anonymous', 'fixed'] as const;
        space.mmap({ prot: 'rw', flags, length, address: place });
      }
      break;
    }
    case 'own':
      memories[step.bank]!.fill(step.value, step.page * PAGE_SIZE, step.page * PAGE_SIZE + 9);
      if (step.bank === 0) marks[step.page] = 1;
      break;
    default: {
      const { place, page, value, space } = step as Extract<ExtraStep, { op: 'store' }>;
      spaces[space % spaces.length]!.fill(place + page * PAGE_SIZE, 100, value);
    }
  }
}
