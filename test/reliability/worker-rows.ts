/** Rows of the workers of a dump, which are held, or lost in every way. */
import { createGate, type Fault, type FaultAction } from '../../src/shared/faults.ts';
import {
  type DestinationKind,
  everySink,
  fileDestination,
  memoryDestination,
  splitSinks,
} from './destinations.ts';
import { DONE, dumpCase, IS_LONG, LOSSES, LOST, lossOn, namesWorker } from './dump-case.ts';
import { BOTH, type Lab, openGate } from './lab.ts';
import { NOTHING, type Row } from './matrix.ts';

/** A point in the life of a unit, and the sinks whose dumps reach it. */
interface Moment {
  readonly phase: 'count' | 'copy';
  readonly point: 'unit' | 'sized' | 'placed';
  /** The name in the table. */
  readonly name: string;
  readonly sinks: (lab: Lab) => ReadonlyMap<string, DestinationKind>;
}

const MOMENTS: readonly Moment[] = [
  { phase: 'count', point: 'unit', name: 'count', sinks: countedSinks },
  { phase: 'count', point: 'sized', name: 'count, sized', sinks: countedSinks },
  { phase: 'copy', point: 'unit', name: 'copy', sinks: everySink },
  { phase: 'copy', point: 'sized', name: 'copy, sized', sinks: uncountedSinks },
  { phase: 'copy', point: 'placed', name: 'copy, placed', sinks: everySink },
];

/**
 * Losses that are tried at every moment of a unit: one that the worker reports, and one that it
 * does not.
 */
const SUDDEN: ReadonlySet<FaultAction['kind']> = new Set(['throw', 'hold']);

/** Sinks that need a counting pass first. */
function countedSinks(lab: Lab): ReadonlyMap<string, DestinationKind> {
  const stream = [...everySink(lab)].filter(([name]) => name === 'stream');
  return new Map([...stream, ...splitSinks()]);
}

function uncountedSinks(lab: Lab): ReadonlyMap<string, DestinationKind> {
  return new Map([...everySink(lab)].filter(([name]) => name !== 'stream'));
}

export function lostWorkerRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const [fault, kind] of LOSSES) {
    for (const { phase, point, name, sinks } of MOMENTS) {
      if (point !== 'unit' && !SUDDEN.has(kind)) continue;
      for (const [sink, kindOf] of sinks(lab)) {
        rows.push({
          fault,
          phase: name,
          sink,
          expected: LOST,
          async *cases() {
            // A new thread takes half a second, so elsewhere only one of the workers is lost.
            const isBoth = IS_LONG || (sink === 'file' && lab.breadth === 'all');
            for (const worker of isBoth ? BOTH : BOTH.slice(1)) {
              const at = { point, phase, worker, nth: 1 } as const;
              const { faults, meanwhile } = lossOn(lab, kind, at);
              yield dumpCase(lab, kindOf(lab), faults, namesWorker(phase, worker), meanwhile);
            }
          },
        });
      }
    }
  }
  return rows;
}

const UNCOUNTED = MOMENTS.filter(({ phase }) => phase === 'copy');

/** A worker is lost in each unit in turn, and both workers are lost at once. */
export function lostUnitRows(lab: Lab): Row[] {
  return UNCOUNTED.flatMap(({ phase, point, name }) => [
    {
      fault: 'a worker throws at unit n = 1 … all',
      phase: name,
      sink: 'memory',
      expected: LOST,
      async *cases() {
        const place = { point, phase } as const;
        const destination = memoryDestination(lab);
        const units = await lab.count(place, () =>
          lab.pair.dump(lab.space, lab.options(destination.sink)),
        );
        for (const nth of lab.passes(units)) {
          const fault: Fault = { ...place, nth, action: { kind: 'throw' } };
          yield dumpCase(lab, memoryDestination(lab), [fault], namesWorker(phase));
        }
      },
    },
    {
      fault: 'both workers call process.exit',
      phase: name,
      sink: 'file',
      expected: LOST,
      async *cases() {
        const faults = BOTH.map((worker): Fault => {
          return { point, phase, worker, nth: 1, action: { kind: 'exit' } };
        });
        yield dumpCase(lab, fileDestination(lab, lab.folder, false), faults, namesWorker(phase, 0));
      },
    },
  ]);
}

/** A worker that is held is no failure: the dump waits for it, or is aborted. */
export function heldRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const isAborted of [false, true]) {
    for (const { phase, point, name, sinks } of MOMENTS) {
      const split = name === 'copy' ? splitSinks() : [];
      for (const [sink, kindOf] of [...sinks(lab), ...split]) {
        rows.push({
          fault: `a worker is held${isAborted ? ', and the dump aborted' : ', and goes on'}`,
          phase: name,
          sink,
          expected: isAborted ? { code: 'ABORT_ERR', left: NOTHING } : DONE,
          async *cases() {
            for (const worker of BOTH) {
              const gate = createGate();
              const action: FaultAction = { kind: 'hold', gate };
              const fault: Fault = { point, phase, worker, nth: 1, action };
              const meanwhile = async (abort: () => void): Promise<void> => {
                await lab.held(gate);
                if (isAborted) abort();
                openGate(gate);
              };
              yield dumpCase(lab, kindOf(lab), [fault], () => {}, meanwhile);
            }
          },
        });
      }
    }
  }
  return rows;
}
