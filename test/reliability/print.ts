/**
 * Runs the matrix and prints the table of docs/RELIABILITY.md.
 *
 *   npm run reliability
 *
 * MMDUMP_SEED=n chooses other random faults, and MMDUMP_LONG=1 runs more cases. The exit code is 1
 * when a cell is not what it must be.
 */
import { allRows } from './all-rows.ts';
import { Lab } from './lab.ts';
import { lineOf, type RowResult, runRow, titleOf } from './matrix.ts';
import { SEED } from './random-rows.ts';

/** Rows that differ only in the sink are one line of the table. */
function lines(results: readonly RowResult[]): string[] {
  const groups = new Map<string, { readonly sinks: string[]; cases: number }>();
  for (const { row, cases, outcome } of results) {
    const key = lineOf(row, outcome).join('\n');
    const group = groups.get(key) ?? { sinks: [], cases: 0 };
    group.sinks.push(row.sink);
    group.cases += cases;
    groups.set(key, group);
  }
  return [...groups].map(([key, { sinks, cases }]) =>
    key.replace('\n', ` ${sinks.join(' · ')} | ${cases} `),
  );
}

const start = performance.now();
const results: RowResult[] = [];
const lab = await Lab.open('all');
try {
  for (const row of allRows(lab)) {
    const result = await runRow(row);
    results.push(result);
    for (const problem of result.problems) process.stderr.write(`${titleOf(row)}: ${problem}\n`);
  }
} finally {
  await lab.close();
}
const seconds = Math.round((performance.now() - start) / 1000);
const cases = results.reduce((sum, result) => sum + result.cases, 0);
const wrong = results.filter(({ problems }) => problems.length > 0).length;
process.stdout.write(`\
| fault | phase | sink or job | cases | what happened | left behind |
|---|---|---|---|---|---|
${lines(results).join('\n')}

${results.length} cells, ${cases} cases, seed ${SEED}, ${wrong} cells not as they have to be; ${seconds} s, Node ${process.version}
`);
process.exitCode = wrong === 0 ? 0 : 1;
