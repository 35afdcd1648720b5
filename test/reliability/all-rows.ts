import type { Lab } from './lab.ts';
import type { Row } from './matrix.ts';
import { otherRows } from './other-rows.ts';
import { randomRows } from './random-rows.ts';
import { runningRows } from './running-rows.ts';
import { callRows, memoryRows, placeRows, writeRows } from './sink-rows.ts';
import { splitRows } from './split-rows.ts';
import { streamRows } from './stream-rows.ts';
import { heldRows, lostUnitRows, lostWorkerRows } from './worker-rows.ts';

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
    ...randomRows(lab),
  ];
}
