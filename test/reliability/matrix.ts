/**
 * The matrix of docs/RELIABILITY.md: each fault, in each phase, with each sink. A row runs its
 * cases and reports their outcomes. `npm run reliability` prints the rows, and
 * test/integration/faults.test.ts asserts them. Both run the same code, so the table cannot be
 * wrong.
 */

/**
 * The outcome of one case. The case itself asserts what else must hold, and throws if it does not.
 */
export interface Outcome {
  /** 'done', or the code of the one error. */
  readonly code: string;
  /** What a case left behind: things that were not there before. */
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
  /** Cases with an unexpected outcome. */
  readonly problems: readonly string[];
}

/**
 * Runs all cases of a row. An unexpected outcome is a problem; an error is one too, and ends the
 * row.
 */
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

/** Rows that differ only in the sink are one line of the table. Returns its begin and its end. */
export function lineOf({ fault, phase }: Row, { code, left }: Outcome): readonly [string, string] {
  return [`| ${fault} | ${phase} |`, `| ${code} | ${left} |`];
}

export function titleOf({ fault, phase, sink }: Row): string {
  return `${fault} · ${phase} · ${sink}`;
}
