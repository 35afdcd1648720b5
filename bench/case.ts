/** A case of the benchmark. It measures one subject, and is chosen by its name. */
import type { Growth } from './growth.ts';
import type { Line } from './line.ts';
import type { Stage } from './stage.ts';

export interface CaseResult {
  readonly lines: readonly Line[];
  readonly growth?: readonly Growth[];
}

export interface BenchCase {
  readonly name: string;
  /** The text that --list shows. */
  readonly about: string;
  run(stage: Stage): Promise<CaseResult>;
}
