/**
 * The classify phase: what becomes of every page of the units that this worker claims. It writes
 * runs and the frames behind the COPY ones; no page is copied yet.
 *
 * The machine is frozen or the mmap locks are held: VMAs do not change. Frozen, neither do page
 * tables, page structs and page caches, and plain loads are enough.
 */

import { MachineParts } from '../mmu/machine-parts.ts';
import { type Mm, mmOf } from '../mmu/mm.ts';
import { leftOutFlags } from '../shared/dump/left-out.ts';
import { OwnerTable } from '../shared/dump/owner-table.ts';
import { PHASE } from '../shared/dump/phase-control.ts';
import { RUN } from '../shared/dump/run-table.ts';
import type { ClassifyTask, PhaseReport } from '../shared/dump/tasks.ts';
import { WorkUnits } from '../shared/dump/work-unit.ts';
import type { Outcome } from '../shared/errors.ts';
import { NO_THREAD } from '../shared/sync/thread-table.ts';
import { Donors } from './parts/donors.ts';
import { GranuleClassifier } from './parts/granule-classifier.ts';
import { RunWriter } from './parts/run-writer.ts';
import { runUnits } from './phase.ts';

export function classify(task: ClassifyTask): Outcome<PhaseReport> {
  const machine = new MachineParts(task.machine, { thread: NO_THREAD });
  const mms: Mm[] = task.mms.map((slot) => mmOf(machine, slot, NO_THREAD));
  const units = new WorkUnits(task.units);
  const owners = new OwnerTable(task.owners);
  const runTable = new Int32Array(task.runs);
  const sourceList = new Int32Array(task.sources);
  const { detectZero, unsupported } = task;
  const leftOut = leftOutFlags(task);
  const policy = { detectZero, copyUnsupported: unsupported === 'copy', leftOut };
  const out = new RunWriter(task.maxUnitPages);
  const donors = new Donors(mms, leftOut);
  const classifiers = mms.map(
    (_, mm) => new GranuleClassifier(mms, mm, owners, donors, policy, out),
  );
  return runUnits(task, task.unitCount, (unit, phase) => {
    const start = units.start(unit);
    out.begin(start);
    classifiers[units.mm(unit)]!.classify(start, units.pages(unit));
    const { runs, runCount, sources, sourceCount } = out;
    const sourceAt = phase.reserve(PHASE.SOURCES, sourceCount);
    for (let at = RUN.SOURCE; at < runCount * RUN.WORDS; at += RUN.WORDS) runs[at]! += sourceAt;
    const runAt = phase.reserve(PHASE.RUNS, runCount);
    runTable.set(runs.subarray(0, runCount * RUN.WORDS), runAt * RUN.WORDS);
    sourceList.set(sources.subarray(0, sourceCount), sourceAt);
    units.setRuns(unit, runAt, runCount);
    return { pages: sourceCount, bytes: 0 };
  });
}
