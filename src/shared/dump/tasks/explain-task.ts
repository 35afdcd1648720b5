/** The task that explains what a dump would make of one page, and its answer. */
import type { MachineHandle } from '../../machine-handle.ts';
import type { PassTask } from './pass-task.ts';

/** The task: the options of the dump, its mms, and the page. */
export interface ExplainTask
  extends Pick<
    PassTask,
    'detectZero' | 'unsupported' | 'hugetlb' | 'dontDump' | 'kernels' | 'owners'
  > {
  readonly machine: MachineHandle;
  /** Slots of the mms of the dump, which are held and frozen. */
  readonly mms: readonly number[];
  /** Ordinal of the mm of the page. */
  readonly mm: number;
  /** The page, which a VMA of the mm covers. */
  readonly vpn: number;
}

/** What becomes of the page. */
export interface PageVerdict {
  /** The RULE that has decided. */
  readonly rule: number;
  /** The class word, as in the run table; 0 if the page is absent. */
  readonly word: number;
}
