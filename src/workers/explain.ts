/** Explains what a dump would make of one page: the classifier of dumps tells its rule. */
import { MachineParts } from '../mmu/mm/machine-parts.ts';
import { mmOf } from '../mmu/mm/mm.ts';
import { ruleOfLeftOut } from '../shared/dump/left-out.ts';
import { RULE } from '../shared/dump/page-class.ts';
import { RUN, unsupportedWord } from '../shared/dump/run-table.ts';
import type { ExplainTask, PageVerdict } from '../shared/dump/tasks/explain-task.ts';
import { type Outcome, toFailure } from '../shared/errors.ts';
import { GRANULE_PAGES, granuleStart } from '../shared/page.ts';
import { NO_THREAD } from '../shared/sync/thread-layout.ts';
import { BackedPages } from './classify/backed-pages.ts';
import { classifiersOf } from './classify/classifiers.ts';
import { RunWriter } from './classify/run-writer.ts';

/** Classifies the page as a dump of these mms does. */
export function explain(task: ExplainTask): Outcome<PageVerdict> {
  try {
    return { ok: true, value: verdictOn(task) };
  } catch (error) {
    return { ok: false, failure: toFailure(error) };
  }
}

function verdictOn(task: ExplainTask): PageVerdict {
  const machine = new MachineParts(task.machine, { thread: NO_THREAD, mayBlock: true });
  const mms = task.mms.map((slot) => mmOf(machine, slot, NO_THREAD));
  const { vmas } = mms[task.mm]!;
  const leftOut = ruleOfLeftOut(vmas.flags(vmas.lookup(task.vpn)), task);
  if (leftOut !== 0) return { rule: leftOut, word: 0 };
  const found = new RunWriter(
    new Int32Array(GRANULE_PAGES * RUN.WORDS),
    new Int32Array(GRANULE_PAGES),
  );
  const backed = machine.backings.isEmpty
    ? undefined
    : new BackedPages(mms, machine.memory, GRANULE_PAGES, task.detectZero, undefined);
  const parts = { pinned: undefined, found, backed, ferried: undefined };
  const classifier = classifiersOf(task, machine, mms, parts)[task.mm]!;
  const start = granuleStart(task.vpn);
  found.begin(start, 0);
  backed?.begin(start, 0);
  const rule = classifier.explain(task.vpn);
  if (rule === RULE.TABLE_BAD) return { rule, word: unsupportedWord(rule) };
  return { rule, word: found.runEnd === 0 ? 0 : found.runs[RUN.CLASS]! };
}
