/** Rows of the workers of a dump: lost in every way, or held. */
import { createGate, type Fault, type FaultAction } from '../../src/shared/faults.ts';
import { DONE, dumpCase, IS_LONG, LOSSES, LOST, lossOn, namesWorker } from './dump-case.ts';
import { BOTH, type Lab, openGate } from './lab.ts';
import { NOTHING, type Row } from './matrix.ts';
import { everySink, fileTarget, memoryTarget, splitSinks } from './targets.ts';

const DUMP_PHASES = ['classify', 'copy'] as const;

export function lostWorkerRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const [fault, kind] of LOSSES) {
    for (const phase of DUMP_PHASES) {
      for (const [sink, kindOf] of everySink(lab)) {
        rows.push({
          fault,
          phase,
          sink,
          expected: LOST,
          async *cases() {
            // A new thread takes half a second: elsewhere one of them is enough.
            const isBoth = IS_LONG || (sink === 'file' && lab.breadth === 'all');
            for (const worker of isBoth ? BOTH : BOTH.slice(1)) {
              const at = { point: 'unit', phase, worker, nth: 1 } as const;
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

/** Each unit is the one that a worker is lost in; and both workers are lost at once. */
export function lostUnitRows(lab: Lab): Row[] {
  return DUMP_PHASES.flatMap((phase) => [
    {
      fault: 'a worker throws at unit n = 1 … all',
      phase,
      sink: 'memory',
      expected: LOST,
      async *cases() {
        const point = { point: 'unit', phase } as const;
        const target = memoryTarget(lab);
        const units = await lab.count(point, () =>
          lab.pair.dump(lab.space, lab.options(target.sink)),
        );
        for (const nth of lab.passes(units)) {
          const fault: Fault = { ...point, nth, action: { kind: 'throw' } };
          yield dumpCase(lab, memoryTarget(lab), [fault], namesWorker(phase));
        }
      },
    },
    {
      fault: 'both workers call process.exit',
      phase,
      sink: 'file',
      expected: LOST,
      async *cases() {
        const faults = BOTH.map((worker): Fault => {
          return { point: 'unit', phase, worker, nth: 1, action: { kind: 'exit' } };
        });
        yield dumpCase(lab, fileTarget(lab, lab.folder, false), faults, namesWorker(phase, 0));
      },
    },
  ]);
}

/** A worker that is held is no failure: the dump waits for it, or is aborted. */
export function heldRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const isAborted of [false, true]) {
    for (const phase of DUMP_PHASES) {
      const split = phase === 'copy' ? splitSinks() : [];
      for (const [sink, kindOf] of [...everySink(lab), ...split]) {
        rows.push({
          fault: `a worker is held${isAborted ? ', and the dump aborted' : ', and goes on'}`,
          phase,
          sink,
          expected: isAborted ? { code: 'ABORT_ERR', left: NOTHING } : DONE,
          async *cases() {
            for (const worker of BOTH) {
              const gate = createGate();
              const action: FaultAction = { kind: 'hold', gate };
              const fault: Fault = { point: 'unit', phase, worker, nth: 1, action };
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
