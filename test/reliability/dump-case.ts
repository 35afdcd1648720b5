/** One dump with faults, what its error must name, and the ways to lose a worker. */
import { createGate, type Fault, type FaultAction } from '../../src/shared/faults.ts';
import type { Destination } from './destinations.ts';
import { codeOf, type Failed, type Lab } from './lab.ts';
import { NOTHING, type Outcome } from './matrix.ts';

type Check = (error: Failed) => void;

/** One dump into `destination` with faults, and everything that must hold after it. */
export async function dumpCase(
  lab: Lab,
  destination: Destination,
  faults: readonly Fault[],
  check: Check = () => {},
  meanwhile: (abort: () => void) => Promise<void> = async () => {},
  allHappen = true,
): Promise<Outcome> {
  const { pair, space } = lab;
  const controller = new AbortController();
  const job = (): Promise<unknown> => {
    const { signal } = controller;
    const dump = pair.dump(space, { ...lab.options(destination.sink), signal });
    return Promise.all([dump, meanwhile(() => controller.abort())]);
  };
  const outcome = await lab.attempt(job, faults, allHappen);
  if (outcome === 'done') {
    if (!destination.taken().equals(lab.image)) throw new Error('the image has other bytes');
  } else {
    check(outcome);
  }
  const left = outcome === 'done' ? NOTHING : destination.left();
  await lab.assertAsBefore();
  return { code: codeOf(outcome), left };
}

/** Checks that the error names the output and what the system said. */
export function namesOutput(errno: string, path?: string): Check {
  return ({ message, fields }) => {
    const place = path ?? 'the stream';
    if (!message.includes(place)) throw new Error(`${place} is not named: ${message}`);
    const named = String(fields?.path).replace(/\.\d{3}$/, ''); // or one of its parts
    if (path !== undefined && named !== path) throw new Error(`path: ${fields?.path}`);
    if (fields?.errno !== errno) throw new Error(`errno: ${fields?.errno}, expected ${errno}`);
  };
}

/** Checks that the error names the worker and the unit that it had. */
export function namesWorker(phase: string, worker?: number): Check {
  return ({ code, message, fields }) => {
    if (code !== 'WORKER_LOST') return;
    const words = `worker ${fields?.worker} (was lost|failed) in ${phase}, unit ${fields?.unit}: .`;
    if (!new RegExp(`^${words}`).test(message)) throw new Error(`no place: ${message}`);
    if (worker !== undefined && fields?.worker !== worker) {
      throw new Error(`worker ${fields?.worker}, expected ${worker}`);
    }
  };
}

/** The ways to lose a worker. */
export const LOSSES: ReadonlyMap<string, FaultAction['kind']> = new Map([
  ['a worker throws', 'throw'],
  ['a worker calls process.exit', 'exit'],
  ['a worker runs out of memory', 'memory'],
  ['a worker is terminated', 'hold'],
]);

/** Returns the fault that loses this worker, and what the test must do to make it happen. */
export function lossOn(
  lab: Lab,
  kind: FaultAction['kind'],
  fault: Pick<Fault, 'phase' | 'worker' | 'point' | 'nth'>,
): { readonly faults: readonly Fault[]; readonly meanwhile: () => Promise<void> } {
  if (kind !== 'hold') {
    const action = { kind } as FaultAction;
    return { faults: [{ ...fault, action }], meanwhile: async () => {} };
  }
  const gate = createGate();
  return {
    faults: [{ ...fault, action: { kind, gate } }],
    meanwhile: async () => void (await (await lab.held(gate)).terminate()),
  };
}

export const IS_LONG = process.env.MMDUMP_LONG === '1';
export const LOST = { code: 'WORKER_LOST', left: NOTHING };
export const FAILED = { code: 'OUTPUT_FAILED', left: NOTHING };
export const DONE = { code: 'done', left: NOTHING };
