/** Makes the classifiers of a task: of a pass over all pages, or of the explanation of one page. */
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { leftOutFlags } from '../../shared/dump/left-out.ts';
import { OwnerTable } from '../../shared/dump/owner-table.ts';
import type { PassTask } from '../../shared/dump/tasks/pass-task.ts';
import type { FerriedPages } from '../ferry/ferried-pages.ts';
import type { BackedPages } from './backed-pages.ts';
import { Donors } from './donors.ts';
import { GranuleClassifier } from './granule-classifier.ts';
import { FrozenLeaves, type PinnedLeaves } from './leaves.ts';
import type { RunWriter } from './run-writer.ts';
import { zeroTestsOf } from './zero-test.ts';

/** What a task says about classes. */
export type ClassifyTask = Pick<
  PassTask,
  'detectZero' | 'unsupported' | 'hugetlb' | 'dontDump' | 'kernels' | 'owners'
>;

/** Where the classifiers of a worker find leaves and pages, and where runs go. */
export interface ClassifierParts {
  readonly pinned: readonly PinnedLeaves[] | undefined;
  readonly found: RunWriter;
  readonly backed: BackedPages | undefined;
  readonly ferried: FerriedPages | undefined;
}

/** The classifiers of a worker, one for each mm of the dump. */
export function classifiersOf(
  task: ClassifyTask,
  machine: MachineParts,
  mms: readonly Mm[],
  { pinned, found, backed, ferried }: ClassifierParts,
): readonly GranuleClassifier[] {
  const { detectZero, unsupported } = task;
  const leftOut = leftOutFlags(task);
  const zeroTests = detectZero ? zeroTestsOf(machine, task.kernels) : [];
  const policy = { detectZero, copyUnsupported: unsupported === 'copy', leftOut, zeroTests };
  const owners = new OwnerTable(task.owners);
  // On a running machine two mms are not seen at one instant, so each stores what they share.
  // The tables of running mms change, but those of snapshots stand still on a running machine, too.
  const isStill = pinned === undefined || mms.every(({ struct }) => struct.isSnapshot);
  const donors = isStill ? new Donors(mms, leftOut) : undefined;
  return mms.map((mm, ordinal) => {
    const leaves = pinned?.[ordinal] ?? new FrozenLeaves(mm);
    const bytes = { backed, ferried };
    return new GranuleClassifier(mms, ordinal, leaves, owners, donors, policy, found, bytes);
  });
}
