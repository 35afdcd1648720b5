/**
 * The matrix of docs/RELIABILITY.md: each fault, in each phase, with each sink. A row runs its cases
 * and says what they came to. `npm run reliability` prints the rows, test/integration/faults.test.ts
 * asserts them: one code, so the table cannot be wrong.
 */

/** What one case came to. What must hold besides is asserted by the case itself: it throws. */
export interface Outcome {
  /** 'done', or the code of the one error. */
  readonly code: string;
  /** What was there afterwards that was not there before. */
  readonly left: string;
}

export const NOTHING = 'nothing';

export interface Row {
  readonly fault: string;
  readonly phase: string;
  readonly sink: string;
  readonly expected: Outcome;
  readonly cases: () => AsyncGenerator<Outcome>;
}

export interface RowResult {
  readonly row: Row;
  readonly cases: number;
  readonly outcome: Outcome;
  /** What was not as expected, by case. */
  readonly problems: readonly string[];
}

/** Runs all cases of a row; a case that is not as expected is a problem, and ends the row. */
export async function runRow(row: Row): Promise<RowResult> {
  const { expected } = row;
  let cases = 0;
  const codes = new Set<string>();
  const left = new Set<string>();
  const problems: string[] = [];
  try {
    for await (const outcome of row.cases()) {
      cases++;
      codes.add(outcome.code);
      left.add(outcome.left);
      if (outcome.code === expected.code && outcome.left === expected.left) continue;
      problems.push(`case ${cases}: ${outcome.code}, left behind: ${outcome.left}`);
    }
  } catch (error) {
    problems.push(`case ${cases + 1}: ${String(error)}`);
  }
  if (cases === 0 && problems.length === 0) problems.push('it has no cases');
  const outcome = { code: [...codes].join(', '), left: [...left].join(', ') };
  return { row, cases, outcome, problems };
}

/** Cells of the table that differ in the sink only are one line: what it begins and ends with. */
export function lineOf({ fault, phase }: Row, { code, left }: Outcome): readonly [string, string] {
  return [`| ${fault} | ${phase} |`, `| ${code} | ${left} |`];
}

export function titleOf({ fault, phase, sink }: Row): string {
  return `${fault} · ${phase} · ${sink}`;
}
