/** mprotect (mm/mprotect.c). The mmap lock is held for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import { type Prot, protFlags } from '../arguments/prot.ts';
import { nothingMapped, parseUserRange } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { protectRange } from '../tables/protect.ts';
import { mergeRange, splitVma } from '../vma/vma-edit.ts';

const ACCESS = VM.READ | VM.WRITE | VM.EXEC;
const NOT_CHARGED = VM.ACCOUNT | VM.WRITE | VM.HUGETLB | VM.SHARED | VM.NORESERVE;

/**
 * Sets the protection of whole pages (do_mprotect_pkey). Throws ENOMEM at the first hole, and
 * EACCES at the first mapping that never allows `prot`. As in Linux, the part before that is
 * changed.
 */
export function doMprotect(mm: Mm, address: number, length: number, prot: Prot): void {
  const access = protFlags(prot);
  const range = parseUserRange('mprotect', address, length);
  if (range === undefined) return;
  const { vmas } = mm;
  for (let next = range.from; next < range.to; ) {
    const slot = vmas.lookup(next);
    if (slot < 0) throw nothingMapped('mprotect', next);
    const end = Math.min(range.to, vmas.end(slot));
    const before = vmas.flags(slot);
    const after = (before & ~ACCESS) | access;
    // Each VM_MAY* bit lies four bits above the access bit that it allows.
    if ((after & ~(after >>> 4) & ACCESS) !== 0) {
      throw new MmdumpError('EACCES', `mprotect: the mapping can never be given '${prot}'`, {
        address,
      });
    }
    const charged = withCharge(mm, slot, before, after);
    if (charged !== before) changeVmaFlags(mm, next, end, charged);
    // A locked private mapping that becomes writable gets its own copies of pages at once.
    const wasLocked = (before & (VM.WRITE | VM.SHARED | VM.LOCKED)) === VM.LOCKED;
    if (wasLocked && (after & VM.WRITE) !== 0) mm.toPopulate.push({ from: next, to: end });
    next = end;
  }
}

/**
 * Returns `after` with or without VM_ACCOUNT. A private mapping is charged when it becomes
 * writable. When it stops being writable, the charge is dropped only if it is anonymous and has no
 * pages.
 */
function withCharge(mm: Mm, slot: number, before: number, after: number): number {
  if ((after & VM.WRITE) !== 0) {
    return ((before & NOT_CHARGED) === 0 ? after | VM.ACCOUNT : after) >>> 0;
  }
  const isEmpty = mm.vmas.file(slot) === 0 && mm.vmas.anonVma(slot) === 0;
  return ((before & VM.ACCOUNT) !== 0 && isEmpty ? after & ~VM.ACCOUNT : after) >>> 0;
}

/**
 * Gives the pages [from, to) of one VMA new flags and their leaves the protection that follows from
 * them, splitting the VMA and merging it with its neighbours as needed (vma_modify_flags).
 */
export function changeVmaFlags(mm: Mm, from: number, to: number, flags: number): void {
  try {
    splitVma(mm, from);
    splitVma(mm, to);
    const slot = mm.vmas.lookup(from);
    const changed = mm.vmas.flags(slot) ^ flags;
    mm.vmas.setFlags(slot, flags);
    if ((changed & ACCESS) !== 0) protectRange(mm, from, to, flags);
  } finally {
    mergeRange(mm, from, to);
  }
}
