/** Checks the objects of this package that a caller gives to a job, before the job begins. */
import { AddressSpace } from '../../mmu/machine/address-space.ts';
import { Machine } from '../../mmu/machine/machine.ts';
import { type Check, instanceOf, isArray, list } from '../../shared/arguments/checks.ts';

export const SPACE: Check<AddressSpace> = instanceOf(AddressSpace, 'an AddressSpace');
export const MACHINE: Check<Machine> = instanceOf(Machine, 'a Machine');

/** Accepts one address space or a list of them. OPTION_INVALID for everything else. */
export function addressSpaces(what: string, value: unknown): AddressSpace[] {
  if (!isArray(value)) return [SPACE(what, value)];
  return SPACES(what, value);
}
const SPACES = list(SPACE);
