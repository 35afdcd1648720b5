/**
 * Stacks: a VMA with VM_GROWSDOWN grows when a page below it is accessed (expand_downwards), and
 * keeps a gap to the mapping below it.
 */

import { RANK } from '../../shared/sync/held-locks.ts';
import { VM } from '../../shared/vm-flags.ts';
import { StackGrowth } from '../arguments/signal.ts';
import type { Mm } from '../mm/mm.ts';
import { prepareAnonVma } from './anon-vma.ts';
import { MIN_VPN, STACK_GUARD_GAP } from './place.ts';

/** RLIMIT_STACK in pages: 8 MiB. */
const STACK_LIMIT = 2048;

/**
 * Grows the VMA above `vpn` down to `vpn` if it is a stack and may grow so far; returns whether it
 * did. Growth needs the mmap lock for writing: throws StackGrowth when it is held for reading.
 */
export function growStack(mm: Mm, vpn: number): boolean {
  const { vmas } = mm;
  const ordinal = vmas.find(vpn);
  if (ordinal === vmas.count) return false;
  const slot = vmas.slot(ordinal);
  if ((vmas.flags(slot) & VM.GROWSDOWN) === 0 || !mayGrow(mm, ordinal, vpn)) return false;
  if (!mm.threads.holds(mm.thread, RANK.MMAP_WRITE)) throw new StackGrowth();
  prepareAnonVma(mm, slot);
  const grown = vmas.start(slot) - vpn;
  vmas.setPgoff(slot, vmas.pgoff(slot) - grown);
  vmas.setStart(slot, vpn);
  return true;
}

/**
 * Whether the stack may begin at `vpn` (acct_stack_growth): not below mmap_min_addr, within
 * RLIMIT_STACK, without a negative pgoff, and stack_guard_gap away from an accessible mapping below
 * that is no stack itself.
 */
function mayGrow(mm: Mm, ordinal: number, vpn: number): boolean {
  const { vmas } = mm;
  const slot = vmas.slot(ordinal);
  if (vpn < MIN_VPN || vmas.end(slot) - vpn > STACK_LIMIT) return false;
  if (vmas.start(slot) - vpn > vmas.pgoff(slot)) return false;
  if (ordinal === 0) return true;
  const below = vmas.slot(ordinal - 1);
  const flags = vmas.flags(below);
  const isAccessible = (flags & (VM.READ | VM.WRITE | VM.EXEC)) !== 0;
  if ((flags & VM.GROWSDOWN) !== 0 || !isAccessible) return true;
  return vpn - vmas.end(below) >= STACK_GUARD_GAP;
}
