/** Counting page faults that were handled, and noting them for those who listen. */
import { addressOf } from '../../shared/page.ts';
import { countFault, type FaultKind } from '../mm/fault-log.ts';
import type { Mm } from '../mm/mm.ts';

/** Notes a fault at `vpn` that has done `kind`. The mmap lock is held in either mode. */
export function noteFault(mm: Mm, vpn: number, write: boolean, kind: FaultKind): void {
  const isMajor = mm.hasRead || kind === 'swapIn' || kind === 'backing';
  countFault(mm.struct, kind, isMajor);
  const { faults } = mm.machine;
  if (!faults.isOn) return;
  const access = write ? 'write' : 'read';
  faults.note({ slot: mm.slot, address: addressOf(vpn), access, kind, isMajor });
}
