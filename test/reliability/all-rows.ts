import { imageRows } from './image-rows.ts';
import type { Lab } from './lab.ts';
import { lineOf, type Row } from './matrix.ts';
import { otherRows } from './other-rows.ts';
import { randomRows } from './random-rows.ts';
import { runningRows } from './running-rows.ts';
import { callRows, memoryRows, placeRows, writeRows } from './sink-rows.ts';
import { splitRows } from './split-rows.ts';
import { streamRows } from './stream-rows.ts';
import { heldRows, lostUnitRows, lostWorkerRows } from './worker-rows.ts';

/**
 * The rows that `npm test` runs: the first row of each line of the table, and for every sixth line
 * one of its other rows as well. Which one varies from line to line, so that every sink meets many
 * faults.
 */
export function someRows(lab: Lab): Row[] {
  const lines = new Map<string, Row[]>();
  for (const row of allRows(lab)) {
    const key = lineOf(row, row.expected).join();
    lines.set(key, [...(lines.get(key) ?? []), row]);
  }
  return [...lines.values()].flatMap(([first, ...others], line) => {
    const other = others[Math.floor(line / 6) % others.length];
    return other === undefined || line % 6 !== 0 ? [first!] : [first!, other];
  });
}

/** Every row, in the order of the table. */
export function allRows(lab: Lab): Row[] {
  return [
    ...lostWorkerRows(lab),
    ...lostUnitRows(lab),
    ...heldRows(lab),
    ...writeRows(lab),
    ...memoryRows(lab),
    ...callRows(lab),
    ...placeRows(lab),
    ...splitRows(lab),
    ...streamRows(lab),
    ...runningRows(lab),
    ...otherRows(lab),
    ...imageRows(lab),
    ...randomRows(lab),
  ];
}
