/** Backings of kind PROCESS: the memory of a stopped process, read by address. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE } from '../../shared/page.ts';

/** The address of a page in the process. */
export function processPosition(place: number): number {
  return addressOf(place);
}

/** The error of a page that cannot be read. */
export function processFailure(
  pid: number,
  position: number,
  reason: string,
  errno: string,
): MmdumpError {
  const address = position - (position % PAGE_SIZE);
  const text = `process ${pid}: its page at ${hex(address)} cannot be read: ${reason}`;
  return new MmdumpError('PROCESS_GONE', text, { pid, address, reason, errno });
}
