/** A case of the benchmark: one concept, run by its name. */
import type { Growth } from './growth.ts';
import type { Line } from './line.ts';
import type { Stage } from './stage.ts';

export interface CaseResult {
  readonly lines: readonly Line[];
  readonly growth?: readonly Growth[];
}

export interface BenchCase {
  readonly name: string;
  /** For --list. */
  readonly about: string;
  run(stage: Stage): Promise<CaseResult>;
}
