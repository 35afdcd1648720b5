/**
 * The same histories on the real kernel (test/support/real-linux.c) and on the simulated machine.
 *
 * Invariants checked, after every step of a history: the result of the call, the bytes of a load or
 * the signal are the same · the process has the same mappings, with the same letters of VmFlags, and
 * cut in the same places · at the end every process reads the same in every page · the machine's
 * tables and counts are true.
 *
 * The rules are those of Linux 6.18; MEANT_DIFFERENCES says what is left out and why.
 * The random histories are the same ones in every normal run: what a kernel of another build does
 * differently is to be found by looking for it, not by whoever tests next. MMDUMP_LONG=1 runs many
 * thousands from a new seed, MMDUMP_SEED=n those of a seed.
 */
import { release } from 'node:os';
import fc from 'fast-check';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { FIXED_HISTORIES } from '../support/fixed-histories.ts';
import { type History, planOf, stepText } from '../support/history.ts';
import { notComparable, withoutMeantDifferences } from '../support/meant-differences.ts';
import { historyOf, type Shape } from '../support/random-history.ts';
import { RealLinux } from '../support/real-linux.ts';
import { isSupported, runSimulated } from '../support/simulated-history.ts';
import { describeDifference, firstDifference } from '../support/transcript.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() & 0x7fff_ffff : 2008));
const HUGE = 512;

const linux = notComparable(release()) ?? RealLinux.build();
afterAll(() => {
  if (typeof linux !== 'string') linux.close();
});

function need(context: TestContext): RealLinux {
  if (typeof linux === 'string') context.skip(linux);
  return linux as RealLinux;
}

function comparable(real: RealLinux, { files, steps }: History): History {
  const known = steps.filter(
    (step) => isSupported(step) && (step.op !== 'heap' || real.canPlaceHeap),
  );
  return { files, steps: withoutMeantDifferences(known) };
}

/** What differs: both transcripts around the first difference, and the history. */
function difference(real: RealLinux, history: History): string | undefined {
  const plan = planOf(comparable(real, history));
  const expected = real.run(plan);
  const text = plan.steps.map(stepText).join('\n');
  try {
    const ours = runSimulated(plan);
    if (firstDifference(expected, ours) < 0) return undefined;
    return `${describeDifference(expected, ours)}\nthe history:\n${text}`;
  } catch (error) {
    return `${(error as Error).stack}\nthe history:\n${text}`;
  }
}

/** Leaves out whatever the difference does not need, in halves first. Quicker than fast-check. */
function shortest(real: RealLinux, history: History): string {
  let { steps } = history;
  let found = difference(real, history) ?? 'it does not fail again';
  for (let size = steps.length; size > 0; size = Math.floor(size / 2)) {
    for (let at = steps.length - size; at >= 0; at = Math.min(at, steps.length) - size) {
      const fewer = steps.toSpliced(at, size);
      const still = difference(real, { ...history, steps: fewer });
      if (still === undefined) continue;
      found = still;
      steps = fewer;
    }
  }
  return found;
}

const SHAPES: readonly (Shape & { readonly name: string; readonly runs: number })[] = [
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

describe('the same histories on Linux and on the simulated machine', () => {
  it.for(FIXED_HISTORIES.map((history) => [history.name, history] as const))(
    '%s',
    ([, history], context) => {
      expect(difference(need(context), history)).toBeUndefined();
    },
  );

  it.for(SHAPES.map((shape) => [shape.name, shape] as const))(
    `random histories (seed ${SEED}): %s`,
    { timeout: IS_LONG ? 3_600_000 : 120_000 },
    ([, shape], context) => {
      const real = need(context);
      const outcome = fc.check(
        fc.property(historyOf(shape, isSupported), (history) => {
          return difference(real, history) === undefined;
        }),
        { seed: SEED, numRuns: shape.runs * (IS_LONG ? 200 : 1), endOnFailure: true },
      );
      if (!outcome.failed) return;
      throw new Error(
        `seed ${SEED}, run ${outcome.numRuns}: ${shortest(real, outcome.counterexample![0])}`,
      );
    },
  );
});
