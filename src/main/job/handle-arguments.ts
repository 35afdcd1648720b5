/** Checks the objects of this package that a caller gives to a job, before the job begins. */
import { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { MmReference } from '../../mmu/machine/enter.ts';
import { Machine } from '../../mmu/machine/machine.ts';
import { type Check, instanceOf, isArray, list } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';

export const SPACE: Check<AddressSpace> = instanceOf(AddressSpace, 'an AddressSpace');
export const MACHINE: Check<Machine> = instanceOf(Machine, 'a Machine');

/** Accepts one address space or a list of them. OPTION_INVALID for everything else. */
export function addressSpaces(what: string, value: unknown): AddressSpace[] {
  if (!isArray(value)) return [SPACE(what, value)];
  return SPACES(what, value);
}
const SPACES = list(SPACE);

/** OPTION_INVALID unless there is an mm with this ordinal and all are of one machine. */
export function assertOneMachine(references: readonly MmReference[], mm: number): void {
  const first = references[0];
  if (first === undefined || mm >= references.length) {
    const message = `mm ${mm}: there are ${references.length} address spaces, from 0 on`;
    throw new MmdumpError('OPTION_INVALID', message, { mm });
  }
  if (references.every(({ machine }) => machine.isSameMachine(first.machine))) return;
  throw new MmdumpError('OPTION_INVALID', 'spaces: they are not all of one machine');
}
