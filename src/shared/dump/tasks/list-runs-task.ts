/** The task that lists the runs of some granules of an mm, as a dump would classify them. */
import type { ExplainTask } from './explain-task.ts';

/** The task: the options of the dump, its mms, which are held and frozen, and the granules. */
export interface ListRunsTask extends Omit<ExplainTask, 'vpn'> {
  /** First pages of the granules, ascending. */
  readonly granules: readonly number[];
}

/** First page, number of pages and class word of each run, in turn, ascending. */
export type ListedRuns = readonly number[];
