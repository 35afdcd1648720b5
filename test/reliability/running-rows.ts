/**
 * Rows of dumps that let the machine run. Workers give back what they pinned, and the locks that
 * they held are open.
 */
import { type MemorySink, memorySink } from 'mmdump';
import type { Fault } from '../../src/shared/faults.ts';
import { LOSSES, lossOn, namesWorker } from './dump-case.ts';
import { BOTH, codeOf, type Failed, type Lab } from './lab.ts';
import { NOTHING, type Outcome, type Row } from './matrix.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const LOST = { code: 'WORKER_LOST', left: NOTHING };
/**
 * Number of the leaf after which a worker is lost: the first, and some in the middle of a table.
 */
const LEAVES = IS_LONG ? [1, 2, 7, 20] : [1, 20];

/** A copy of every page struct, with its references. */
function pageStructs({ machine }: Lab): Buffer {
  return Buffer.from(new Uint8Array(machine.parts.pages.words.buffer).slice());
}

async function runningCase(
  lab: Lab,
  faults: readonly Fault[],
  check: (error: Failed) => void,
  meanwhile: () => Promise<void>,
): Promise<Outcome> {
  const before = pageStructs(lab);
  const sink: MemorySink = memorySink();
  const dump = (): Promise<unknown> =>
    lab.pair.dump(lab.space, { ...lab.options(sink), freeze: false });
  const outcome = await lab.attempt(() => Promise.all([dump(), meanwhile()]), faults);
  if (outcome !== 'done') check(outcome);
  const left = pageStructs(lab).equals(before) ? NOTHING : 'references';
  await lab.assertAsBefore();
  await dump();
  if (!pageStructs(lab).equals(before)) throw new Error('the next dump leaves references');
  return { code: codeOf(outcome), left };
}

export function runningRows(lab: Lab): Row[] {
  const rows: Row[] = [];
  for (const [fault, kind] of LOSSES) {
    rows.push({
      fault: `${fault}, with a lock and pins`,
      phase: 'copy',
      sink: 'memory, not frozen',
      expected: LOST,
      async *cases() {
        for (const worker of IS_LONG ? BOTH : BOTH.slice(1)) {
          for (const nth of lab.breadth === 'all' ? LEAVES : LEAVES.slice(-1)) {
            const at = { point: 'leaf', phase: 'copy', worker, nth } as const;
            const { faults, meanwhile } = lossOn(lab, kind, at);
            yield runningCase(lab, faults, namesWorker('copy', worker), meanwhile);
          }
        }
      },
    });
    rows.push({
      fault,
      phase: 'copy',
      sink: 'memory, not frozen',
      expected: LOST,
      async *cases() {
        for (const worker of IS_LONG ? BOTH : BOTH.slice(1)) {
          const at = { point: 'unit', phase: 'copy', worker, nth: 1 } as const;
          const { faults, meanwhile } = lossOn(lab, kind, at);
          yield runningCase(lab, faults, namesWorker('copy', worker), meanwhile);
        }
      },
    });
  }
  return rows;
}
