/**
 * Every cell of the table in docs/RELIABILITY.md, by the code that prints it.
 *
 * Invariants checked, for each fault at each point:
 *  - one error with the code of the table, which names output, offset and errno, or worker and unit
 *  - nothing is left: no file, no open descriptor, no lock, no registered thread, no closed gate, no
 *    listener; an output that was there before is as it was
 *  - the same dumper then makes the same image of the same machine
 */
import { afterAll, describe, expect, it } from 'vitest';
import { allRows } from '../reliability/all-rows.ts';
import { Lab } from '../reliability/lab.ts';
import { runRow, titleOf } from '../reliability/matrix.ts';

const lab = await Lab.open();
afterAll(() => lab.close());

it('a thread that fails between two dumps is replaced', async () => {
  lab.idleThread.emit('error', new Error('a late failure, for a test'));
  await lab.assertAsBefore();
});

describe('the matrix of faults', () => {
  it.for(allRows(lab).map((row) => [titleOf(row), row] as const))('%s', async ([, row]) => {
    const { outcome, problems } = await runRow(row);
    expect(problems).toEqual([]);
    expect(outcome).toEqual(row.expected);
  });
});
