/** Objects of ours that the jobs of a dumper are given, checked before they begin. */
import { AddressSpace } from '../../mmu/machine/address-space.ts';
import { Machine } from '../../mmu/machine/machine.ts';
import { type Check, instanceOf, isArray, list } from '../../shared/arguments/checks.ts';

export const SPACE: Check<AddressSpace> = instanceOf(AddressSpace, 'an AddressSpace');
export const MACHINE: Check<Machine> = instanceOf(Machine, 'a Machine');

/** One address space or several. */
export function addressSpaces(what: string, value: unknown): AddressSpace[] {
  if (!isArray(value)) return [SPACE(what, value)];
  return SPACES(what, value);
}
const SPACES = list(SPACE);
