/** What the jobs of a dumper are given, checked before they begin: see src/shared/arguments. */
import { AddressSpace } from '../mmu/address-space.ts';
import { Machine } from '../mmu/machine.ts';
import {
  type Check,
  flag,
  instanceOf,
  isArray,
  isInstance,
  list,
  listener,
  optional,
  wholeNumber,
} from '../shared/arguments/checks.ts';
import type { Shape } from '../shared/arguments/options.ts';
import { refusal } from '../shared/arguments/refuse.ts';
import type { CompareOptions } from './compare.ts';
import { MAX_INDEX } from './image/index-budget.ts';
import type { VerifyOptions } from './image/verify.ts';
import type { ImportOptions, MachineFor } from './import/import-report.ts';
import type { RestoreOptions } from './load/restore.ts';
import { JOB_OPTIONS } from './stop.ts';

export const SPACE: Check<AddressSpace> = instanceOf(AddressSpace, 'an AddressSpace');
export const MACHINE: Check<Machine> = instanceOf(Machine, 'a Machine');

/** One address space or several. */
export function addressSpaces(what: string, value: unknown): AddressSpace[] {
  if (!isArray(value)) return [SPACE(what, value)];
  return SPACES(what, value);
}
const SPACES = list(SPACE);

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

export const COMPARE_OPTIONS: Shape<CompareOptions> = { ...JOB_OPTIONS, onProgress: listener() };

export const VERIFY_OPTIONS: Shape<VerifyOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
  maxIndexBytes: optional(MAX_INDEX),
  maxProblems: optional(wholeNumber(1)),
};

export const RESTORE_OPTIONS: Shape<RestoreOptions> = {
  ...JOB_OPTIONS,
  onProgress: listener(),
};

export const IMPORT_OPTIONS: Shape<ImportOptions> = {
  children: optional(flag),
  freeze: optional(flag),
  ...JOB_OPTIONS,
  onProgress: listener(),
};
