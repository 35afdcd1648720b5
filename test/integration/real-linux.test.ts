/**
 * The same histories on the real kernel (test/support/linux/real-linux.c) and on the simulated
 * machine.
 *
 * Invariants checked, after every step of a history: the result of the call, and the bytes of a
 * load or the signal, are the same · the process has the same mappings, with the same letters of
 * VmFlags, and cut in the same places · at the end every process reads the same in every page · the
 * machine's tables and counts are true. All of this holds as well if pages of the simulated
 * processes are moved to a backing before two of three steps, except that these are not resident.
 *
 * The rules are those of Linux 6.18; MEANT_DIFFERENCES says what is left out and why. Kernels of
 * one release differ, so the running kernel is probed first (running-kernel.ts), and the machine is
 * made to match its kind. If the kernel has another rule beyond that, the test names it, and fails
 * only in `npm run test:kernel`. What can be checked on every computer is in
 * test/unit/mmu/recorded-linux.test.ts.
 * Every normal run takes the same random histories, and test:kernel takes all that are recorded.
 * MMDUMP_LONG=1 runs many thousands from a new seed, and MMDUMP_SEED=n repeats those of a seed.
 */
import { afterAll, describe, it, type TestContext } from 'vitest';
import { type History, stepText } from '../support/linux/history.ts';
import { FINDINGS_FAIL, nameFinding } from '../support/linux/kernel-findings.ts';
import { notComparable } from '../support/linux/meant-differences.ts';
import {
  comparablePlan,
  fixedHistories,
  type NamedHistory,
  randomHistories,
  SHAPES,
  USUAL_SEED,
} from '../support/linux/named-histories.ts';
import { FILES } from '../support/linux/random-history.ts';
import { RealLinux } from '../support/linux/real-linux.ts';
import { type RunningKernel, runningKernel } from '../support/linux/running-kernel.ts';
import { closeHistories, runSimulated } from '../support/linux/simulated-history.ts';
import {
  describeDifference,
  firstDifference,
  withHiddenResident,
} from '../support/linux/transcript.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
/**
 * Factor for the number of random histories. `npm test` takes a share of the recorded ones, because
 * it compares all of them with a recording anyway.
 */
const TIMES = IS_LONG ? 200 : FINDINGS_FAIL ? 1 : 0.2;
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() & 0x7fff_ffff : USUAL_SEED));

interface Subject {
  readonly linux: RealLinux;
  readonly kernel: RunningKernel;
}

const subject = subjectOf(runningKernel());
afterAll(() => {
  if (typeof subject !== 'string') subject.linux.close();
  closeHistories();
});

function subjectOf(kernel: RunningKernel | string): Subject | string {
  if (typeof kernel === 'string') return kernel;
  const linux = notComparable(kernel.release) ?? RealLinux.build();
  if (typeof linux === 'string') return linux;
  try {
    linux.run({ files: FILES, steps: [] });
  } catch (error) {
    linux.close();
    return `no history can be run here: ${(error as Error).message}`;
  }
  return { linux, kernel };
}

function need(context: TestContext): Subject {
  if (typeof subject === 'string') context.skip(subject);
  return subject as Subject;
}

/** Describes a difference: both transcripts around the first one, and the history. */
function difference({ linux, kernel }: Subject, history: History): string | undefined {
  const plan = comparablePlan(history, linux.canPlaceHeap);
  const expected = linux.run(plan);
  const text = plan.steps.map(stepText).join('\n');
  const { zeroPage } = kernel.probes;
  try {
    const ours = runSimulated(plan, zeroPage);
    if (firstDifference(expected, ours) < 0) {
      const hidden = withHiddenResident(expected, runSimulated(plan, zeroPage, true));
      if (firstDifference(expected, hidden) < 0) return undefined;
      const what = 'it differs only where pages lie in a backing';
      return `${describeDifference(expected, hidden)}\n${what}\nthe history:\n${text}`;
    }
    const isOther = firstDifference(expected, runSimulated(plan, !zeroPage)) < 0;
    const other = `${!zeroPage} ${isOther ? 'it agrees' : 'it does not agree, either'}`;
    const kind = `(the machine has zeroPage: ${zeroPage}; with ${other})`;
    return `${describeDifference(expected, ours)}\n${kind}\nthe history:\n${text}`;
  } catch (error) {
    return `${(error as Error).stack}\nthe history:\n${text}`;
  }
}

/** Leaves out the steps that the difference does not need, starting with halves of the history. */
function shortest(real: Subject, history: History): string {
  let { steps } = history;
  let found = difference(real, history) ?? 'it does not differ again';
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

function compare(context: TestContext, { name, history }: NamedHistory): void {
  const real = need(context);
  if (difference(real, history) === undefined) return;
  nameFinding(context, { what: name, report: shortest(real, history) });
}

describe('the same histories on Linux and on the simulated machine', () => {
  it.for(fixedHistories().map((each) => [each.name, each] as const))('%s', ([, each], context) =>
    compare(context, each),
  );

  it.for(SHAPES.map((shape) => [shape.name, shape] as const))(
    `random histories (seed ${SEED}): %s`,
    { timeout: IS_LONG ? 3_600_000 : 600_000 },
    ([, shape], context) => {
      for (const each of randomHistories(shape, SEED, TIMES)) compare(context, each);
    },
  );
});
