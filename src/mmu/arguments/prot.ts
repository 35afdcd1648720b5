/** Protection arguments of system calls. */
import type { Check } from '../../shared/arguments/checks.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { VM } from '../../shared/vm-flags.ts';

/** Access that a mapping allows: any of the letters r, w and x, in this order. '' is PROT_NONE. */
export type Prot = '' | 'r' | 'w' | 'x' | 'rw' | 'rx' | 'wx' | 'rwx';

/**
 * Checks a protection. Throws EINVAL for any other string, and OPTION_INVALID for a value that is
 * not a string.
 */
export const PROT: Check<Prot> = (what, value) => {
  if (typeof value === 'string' && /^r?w?x?$/.test(value)) return value as Prot;
  const code = typeof value === 'string' ? 'EINVAL' : 'OPTION_INVALID';
  throw refusal(what, value, "letters of 'rwx', in this order, or ''", code);
};

/** Returns the VM_* bits of a protection (calc_vm_prot_bits). */
export function protFlags(prot: Prot): number {
  return (
    (prot.includes('r') ? VM.READ : 0) |
    (prot.includes('w') ? VM.WRITE : 0) |
    (prot.includes('x') ? VM.EXEC : 0)
  );
}
