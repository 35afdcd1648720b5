/**
 * Cases of every line of the table in docs/RELIABILITY.md, run by the code that prints the table:
 * some of them, or with MMDUMP_LONG=1 all.
 *
 * Invariants checked, for each fault at each point:
 *  - one error with the code of the table, which names output, offset and errno, or worker and unit
 *  - nothing is left: no file, no open descriptor, no lock, no registered thread, no closed gate,
 *    no listener; an output that was there before is as it was
 *  - the same dumper then makes the same image of the same machine
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { memorySink } from 'mmdump';
import { afterAll, describe, expect, it } from 'vitest';
import { FAULT_POINTS, type Fault } from '../../src/shared/faults.ts';
import { allRows, someRows } from '../reliability/all-rows.ts';
import { Lab } from '../reliability/lab.ts';
import { lineOf, runRow, titleOf } from '../reliability/matrix.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const lab = await Lab.open(IS_LONG ? 'all' : 'some');
const rows = IS_LONG ? allRows(lab) : someRows(lab);
afterAll(() => lab.close());

it('a thread that fails between two dumps is replaced', async () => {
  lab.idleThread.emit('error', new Error('a late failure, for a test'));
  await lab.assertAsBefore();
});

it('threads that are lost before they are ready are replaced', async () => {
  const gone: Promise<unknown>[] = [];
  const onWorker = (worker: Worker): void => {
    gone.push(once(worker, 'exit'));
    void worker.terminate();
  };
  process.on('worker', onWorker);
  const faults = [0, 1].map((worker): Fault => {
    return { point: 'unit', phase: 'copy', worker, nth: 1, action: { kind: 'exit' } };
  });
  const job = () => lab.pair.dump(lab.space, { to: memorySink() });
  expect(await lab.attempt(job, faults)).toMatchObject({ code: 'WORKER_LOST' });
  process.off('worker', onWorker);
  expect(gone).toHaveLength(2);
  await Promise.all(gone);
  await lab.assertAsBefore();
});

describe('the matrix of faults', () => {
  it.for(rows.map((row) => [titleOf(row), row] as const))('%s', async ([, row]) => {
    const { outcome, problems } = await runRow(row);
    expect(problems).toEqual([]);
    expect(outcome).toEqual(row.expected);
  });

  it('has reached every point', () => {
    expect([...lab.reached].sort()).toEqual([...FAULT_POINTS].sort());
  });

  it('is the table of docs/RELIABILITY.md, line by line', () => {
    const text = readFileSync(new URL('../../docs/RELIABILITY.md', import.meta.url), 'utf8');
    const documented = text.split('\n').filter((line) => /^\|.*\| \d+ \|/.test(line));
    const lines = new Set(allRows(lab).map((row) => lineOf(row, row.expected).join(' … ')));
    const shown = documented.map((line) => {
      const [, fault, phase, , , code, left] = line.split('|').map((cell) => cell.trim());
      return `| ${fault} | ${phase} | … | ${code} | ${left} |`;
    });
    expect(new Set(shown)).toEqual(lines);
  });
});
