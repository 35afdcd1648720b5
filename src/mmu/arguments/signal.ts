/** The errors that a page fault throws: SIGSEGV, SIGBUS, and the request to grow the stack. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';

/** Reason of the SIGBUS for an entry that was made to point beyond memory, to simulate damage. */
export const BEYOND_MEMORY = 'its page-table entry points beyond physical memory';
/** Reason of the SIGBUS for a page whose entry is a poison marker. */
export const POISONED = 'the page was poisoned (BUS_MCEERR_AR)';

/** Makes the SIGSEGV error for an access to page `vpn`. Its field `address` is in bytes. */
export function segv(vpn: number, write: boolean, reason: string): MmdumpError {
  const address = addressOf(vpn);
  return new MmdumpError(
    'SIGSEGV',
    `${write ? 'write to' : 'read from'} page ${hex(address)}: ${reason}`,
    { address, reason },
  );
}

/** Makes the SIGBUS error for an access to page `vpn`. Its field `address` is in bytes. */
export function sigbus(vpn: number, reason: string): MmdumpError {
  const address = addressOf(vpn);
  return new MmdumpError('SIGBUS', `page ${hex(address)}: ${reason}`, { address, reason });
}

/**
 * Thrown when an operation that holds the mmap lock for reading needs it for writing: to replace a
 * page table that a snapshot shares, or to grow the stack. The caller that took the lock runs the
 * operation again with it held for writing.
 */
export class WantsWriteLock extends Error {
  override readonly name: string = 'WantsWriteLock';
}

/** Thrown when the stack has to grow, which changes a VMA. */
export class StackGrowth extends WantsWriteLock {
  override readonly name = 'StackGrowth';
}
