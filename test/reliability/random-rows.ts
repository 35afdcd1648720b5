/**
 * Two faults at once, at places that a seed chooses. The second often hits the cleaning up after
 * the first.
 */
import fc from 'fast-check';
import type { Fault, FaultAction, FaultPoint } from '../../src/shared/faults.ts';
import { everySink, splitSinks } from './destinations.ts';
import { dumpCase } from './dump-case.ts';
import { BOTH, type Lab } from './lab.ts';
import { NOTHING, type Row } from './matrix.ts';

export const SEED: number = Number(process.env.MMDUMP_SEED ?? 2008);

/** Number of pairs per sink. */
function runsOf({ breadth }: Lab): number {
  if (breadth === 'some') return 5;
  return process.env.MMDUMP_LONG === '1' ? 1000 : 20;
}

const ERRNO = fc.constantFrom('EIO', 'ENOSPC', 'EACCES', 'EPERM', 'EEXIST', 'ENOENT');
const FAIL = ERRNO.map((errno): FaultAction => ({ kind: 'errno', errno }));
const DENY = fc.constant<FaultAction>({ kind: 'deny' });
const LOSS = fc.constantFrom<FaultAction>({ kind: 'throw' }, { kind: 'exit' });
const SHORT = fc.nat({ max: 8192 }).map((bytes): FaultAction => ({ kind: 'short', bytes }));

/**
 * What can fail at each point. 'remove' and 'syncDirectory' are not here, because something has to
 * stay after they fail.
 */
const ACTIONS = new Map<FaultPoint, fc.Arbitrary<FaultAction>>([
  ['write', fc.oneof(FAIL, SHORT)],
  ['table', DENY],
  ['buffer', DENY],
  ['look', FAIL],
  ['list', FAIL],
  ['directory', FAIL],
  ['create', FAIL],
  ['reserve', FAIL],
  ['sync', FAIL],
  ['link', FAIL],
  ['rename', FAIL],
]);

const NTH = fc.integer({ min: 1, max: 4 });

const CALL: fc.Arbitrary<Fault> = fc
  .constantFrom(...ACTIONS.keys())
  .chain((point) =>
    fc.record({ point: fc.constant(point), nth: NTH, action: ACTIONS.get(point)! }),
  );

const WORKER: fc.Arbitrary<Fault> = fc.record({
  point: fc.constantFrom('unit', 'sized', 'placed'),
  phase: fc.constantFrom('count', 'copy'),
  worker: fc.constantFrom(...BOTH),
  nth: fc.constantFrom(1, 2),
  action: LOSS,
});

/**
 * At most one fault of a pair is in `rename`: if old parts can be neither set aside nor put back,
 * one has to stay under another name.
 */
const PAIR = fc
  .tuple(CALL, fc.oneof(CALL, WORKER))
  .filter((pair) => pair.some(({ point }) => point !== 'rename'));

/** One row per sink. The outcome is the code of one of the two faults, or 'done'. */
export function randomRows(lab: Lab): Row[] {
  return [...everySink(lab), ...splitSinks()].map(([sink, kindOf], ordinal) => ({
    fault: 'two faults at random',
    phase: 'any',
    sink,
    expected: { code: 'done or one error', left: NOTHING },
    async *cases() {
      const pairs = fc.sample(PAIR, {
        seed: SEED + ordinal,
        // shares much code with the file sink
        numRuns: sink.startsWith('split') ? runsOf(lab) / 5 : runsOf(lab),
      });
      for (const faults of pairs) {
        const { code, left } = await dumpCase(
          lab,
          kindOf(lab),
          faults,
          undefined,
          undefined,
          false,
        );
        if (left !== NOTHING) throw new Error(`${JSON.stringify(faults)}: ${code}, left ${left}`);
        yield { code: OUTCOMES.has(code) ? 'done or one error' : code, left };
      }
    },
  }));
}

const OUTCOMES = new Set(['done', 'OUTPUT_FAILED', 'OUTPUT_EXISTS', 'ENOMEM', 'WORKER_LOST']);
