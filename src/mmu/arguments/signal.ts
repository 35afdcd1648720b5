/** How a fault ends that cannot be handled, and the one that needs the mmap lock for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';

/** Reason of the SIGBUS for an entry that was damaged on purpose. */
export const BEYOND_MEMORY = 'its page-table entry points beyond physical memory';
/** Reason of the SIGBUS for a poisoned page. */
export const POISONED = 'the page was poisoned (BUS_MCEERR_AR)';

export function segv(vpn: number, write: boolean, reason: string): MmdumpError {
  const address = addressOf(vpn);
  return new MmdumpError(
    'SIGSEGV',
    `${write ? 'write to' : 'read from'} page ${hex(address)}: ${reason}`,
    { address, reason },
  );
}

export function sigbus(vpn: number, reason: string): MmdumpError {
  const address = addressOf(vpn);
  return new MmdumpError('SIGBUS', `page ${hex(address)}: ${reason}`, { address, reason });
}

/**
 * The stack has to grow, which changes a VMA, but the operation holds the mmap lock for reading.
 * Whoever runs the operation catches it and runs it again with the lock for writing.
 */
export class StackGrowth extends Error {
  override readonly name = 'StackGrowth';
}
