import type { PhaseTask } from './phase-task.ts';
import type { SourceReach } from './source-reach.ts';

/** The task of the diff phase. */
export interface DiffTask extends PhaseTask {
  readonly left: SourceReach;
  readonly right: SourceReach;
  /** The stretches of PagePairs, and the results of their pages. */
  readonly stretches: SharedArrayBuffer;
  readonly results: SharedArrayBuffer;
  /** First stretch of each unit, and one more word: the stretch after the last unit. */
  readonly unitStarts: SharedArrayBuffer;
  readonly unitCount: number;
}
