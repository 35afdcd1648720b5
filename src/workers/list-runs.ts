/** Lists the runs of some granules of an mm: the classifier of dumps makes them. */
import { MachineParts } from '../mmu/mm/machine-parts.ts';
import { mmOf } from '../mmu/mm/mm.ts';
import { RUN } from '../shared/dump/run-table.ts';
import type { ListedRuns, ListRunsTask } from '../shared/dump/tasks/list-runs-task.ts';
import { type Outcome, toFailure } from '../shared/errors.ts';
import { GRANULE_PAGES } from '../shared/page.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { BackedPages } from './classify/backed-pages.ts';
import { classifiersOf } from './classify/classifiers.ts';
import { RunWriter } from './classify/run-writer.ts';

const { OFFSET, COUNT, CLASS, WORDS } = RUN;

/** Classifies the granules as a dump of these mms does. */
export function listRuns(task: ListRunsTask): Outcome<ListedRuns> {
  try {
    return { ok: true, value: runsOf(task) };
  } catch (error) {
    return { ok: false, failure: toFailure(error) };
  }
}

function runsOf(task: ListRunsTask): number[] {
  const machine = new MachineParts(task.machine, { thread: NO_THREAD, mayBlock: true });
  const mms = task.mms.map((slot) => mmOf(machine, slot, NO_THREAD));
  const found = new RunWriter(new Int32Array(GRANULE_PAGES * WORDS), new Int32Array(GRANULE_PAGES));
  const backed = machine.backings.isEmpty
    ? undefined
    : new BackedPages(mms, machine.memory, GRANULE_PAGES, task.detectZero, undefined);
  const parts = { pinned: undefined, found, backed, ferried: undefined };
  const classifier = classifiersOf(task, machine, mms, parts)[task.mm]!;
  const runs: number[] = [];
  for (const granule of task.granules) {
    found.begin(granule, 0);
    backed?.begin(granule, 0);
    classifier.classify(granule, GRANULE_PAGES);
    for (let at = 0; at < found.runEnd * WORDS; at += WORDS) {
      runs.push(
        granule + found.runs[at + OFFSET]!,
        found.runs[at + COUNT]!,
        found.runs[at + CLASS]!,
      );
    }
  }
  return runs;
}
