/**
 * The classify phase: what becomes of every page of the units that this worker claims. It writes
 * runs and the frames behind the COPY ones; no page is copied yet.
 *
 * The mmap locks are held: VMAs do not change. On a frozen machine neither do page tables, page
 * structs and page caches, and plain loads are enough. On a running one every table is copied under
 * its lock first, with a reference on each frame (`parts/leaves.ts`).
 */

import { KeptNames } from '../mmu/files/kept-names.ts';
import { MachineParts } from '../mmu/machine-parts.ts';
import { type Mm, mmOf } from '../mmu/mm.ts';
import { leftOutFlags } from '../shared/dump/left-out.ts';
import { OwnerTable } from '../shared/dump/owner-table.ts';
import type { ClassifyTask, PhaseReport } from '../shared/dump/tasks.ts';
import { WorkUnits } from '../shared/dump/work-unit.ts';
import type { Outcome } from '../shared/errors.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { Donors } from './parts/donors.ts';
import { GranuleClassifier } from './parts/granule-classifier.ts';
import { FrozenLeaves, PinnedLeaves } from './parts/leaves.ts';
import { RunWriter } from './parts/run-writer.ts';
import { WorkerFaults } from './parts/worker-faults.ts';
import { zeroTestsOf } from './parts/zero-test.ts';
import { runUnits } from './phase.ts';

export function classify(task: ClassifyTask): Outcome<PhaseReport> {
  const { running } = task;
  const thread = running?.thread ?? NO_THREAD;
  const machine = new MachineParts(task.machine, { thread, mayBlock: true });
  const files = running === undefined ? machine.files : new KeptNames(machine, running.named);
  const mms: Mm[] = task.mms.map((slot) => ({ ...mmOf(machine, slot, thread), files }));
  const units = new WorkUnits(task.units);
  const owners = new OwnerTable(task.owners);
  const { detectZero, unsupported } = task;
  const leftOut = leftOutFlags(task);
  const zeroTests = zeroTestsOf(machine, task.kernels);
  const policy = { detectZero, copyUnsupported: unsupported === 'copy', leftOut, zeroTests };
  const out = new RunWriter(task.runs, task.sources);
  // Running, two mms are not seen at one instant: what they share is stored for each.
  const donors = running === undefined ? new Donors(mms, leftOut) : undefined;
  const faults = WorkerFaults.of(task);
  const pinned =
    running && mms.map((mm) => new PinnedLeaves(mm, new Int32Array(running.pins), faults));
  const classifiers = mms.map((mm, ordinal) => {
    const leaves = pinned?.[ordinal] ?? new FrozenLeaves(mm);
    return new GranuleClassifier(mms, ordinal, leaves, owners, donors, policy, out);
  });
  return runUnits(task, task.unitCount, (unit) => {
    const start = units.start(unit);
    const first = units.first(unit);
    out.begin(start, first);
    pinned?.[units.mm(unit)]?.beginUnit(start, first);
    classifiers[units.mm(unit)]!.classify(start, units.pages(unit));
    units.setRunCount(unit, out.runEnd - first);
    return { pages: out.sourceEnd - first, bytes: 0 };
  });
}
