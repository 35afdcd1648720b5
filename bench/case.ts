/** A case of the benchmark. It measures one subject, and is chosen by its name. */

import type { Fixtures } from './fixtures.ts';
import type { Growth } from './growth.ts';
import type { Line } from './line.ts';

export interface CaseResult {
  readonly lines: readonly Line[];
  readonly growth?: readonly Growth[];
}

export interface BenchCase {
  readonly name: string;
  /** The text that --list shows. */
  readonly about: string;
  run(fixtures: Fixtures): Promise<CaseResult>;
}
