/** Protections as the callers write them. */
import { VM } from '../../shared/vm-flags.ts';
import { einval } from './range.ts';

/** Access that a mapping allows: any of the letters r, w, x; '' is PROT_NONE. */
export type Prot = '' | 'r' | 'w' | 'x' | 'rw' | 'rx' | 'wx' | 'rwx';

/** VM_* bits of a protection. EINVAL for anything else. */
export function protFlags(prot: Prot): number {
  if (!/^r?w?x?$/.test(prot)) {
    throw einval(`protection '${prot}': expected letters of 'rwx', in this order, or ''`);
  }
  return (
    (prot.includes('r') ? VM.READ : 0) |
    (prot.includes('w') ? VM.WRITE : 0) |
    (prot.includes('x') ? VM.EXEC : 0)
  );
}
