/** The fixed and random histories on which Linux and the simulated machine are compared. */
import fc from 'fast-check';
import { FIXED_HISTORIES } from './fixed-histories.ts';
import { type History, type Plan, planOf } from './history.ts';
import { withoutMeantDifferences } from './meant-differences.ts';
import { historyOf, type Shape } from './random-history.ts';
import { isSupported } from './simulated-history.ts';

export interface NamedHistory {
  readonly name: string;
  readonly history: History;
}

/** The seed of every normal run, and of the recorded transcripts. */
export const USUAL_SEED = 2008;

const HUGE = 512;

/** The shapes of random histories, with the number of histories per shape in a normal run. */
export const SHAPES: readonly (Shape & { readonly name: string; readonly runs: number })[] = [
  { name: 'a window of 8 pages', window: 8, maxSteps: 30, hasHeap: false, runs: 25 },
  { name: 'a window of 24 pages', window: 24, maxSteps: 50, hasHeap: false, runs: 25 },
  { name: 'a window of 64 pages', window: 64, maxSteps: 80, hasHeap: false, runs: 25 },
  { name: 'a heap', window: 32, maxSteps: 40, hasHeap: true, runs: 20 },
  {
    name: 'huge pages',
    window: 3 * HUGE,
    maxSteps: 16,
    hasHeap: false,
    landmarks: [0, HUGE, 2 * HUGE, 3 * HUGE],
    runs: 8,
  },
];

export function fixedHistories(): NamedHistory[] {
  return FIXED_HISTORIES.map((history) => ({ name: history.name, history }));
}

/** Returns `times` as many as a normal run has. */
export function randomHistories(
  shape: (typeof SHAPES)[number],
  seed: number,
  times = 1,
): NamedHistory[] {
  const histories = fc.sample(historyOf(shape, isSupported), {
    seed,
    numRuns: Math.ceil(shape.runs * times),
  });
  return histories.map((history, at) => ({
    name: `random, seed ${seed}: ${shape.name}, ${at + 1}`,
    history,
  }));
}

/** The comparable part of a history: both sides have its calls, and give them the same meaning. */
export function comparablePlan({ files, steps }: History, canPlaceHeap: boolean): Plan {
  const known = steps.filter((step) => isSupported(step) && (step.op !== 'heap' || canPlaceHeap));
  return planOf({ files, steps: withoutMeantDifferences(known) });
}
