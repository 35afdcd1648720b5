/** Checks what an import is given, before it begins: see src/shared/arguments. */
import { Machine } from '../../mmu/machine/machine.ts';
import {
  flag,
  isArray,
  isInstance,
  list,
  listener,
  oneOf,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { JOB_OPTIONS } from '../job/stop.ts';
import type { ImportOptions, MachineFor } from './import-report.ts';

/** A machine, or a function that makes one. */
export function machineOrMaker(what: string, value: unknown): Machine | MachineFor {
  if (typeof value === 'function') return value as MachineFor;
  if (isInstance(value, Machine)) return value;
  throw refusal(what, value, 'a Machine, or a function that makes one');
}

/** One process or several, by their ids. */
export function processIds(what: string, value: unknown): number[] {
  const pids = isArray(value) ? PIDS(what, value) : [PID(what, value)];
  if (pids.length === 0) throw refusal(what, value, 'at least one');
  return pids;
}
const PID = wholeNumber(1);
const PIDS = list(PID);

export const IMPORT_OPTIONS: Shape<ImportOptions> = {
  children: optional(flag),
  freeze: optional(flag),
  load: optional(oneOf(['now', 'on-demand'])),
  ...JOB_OPTIONS,
  onProgress: listener(),
};
