/** Range arguments of system calls, and the walk over the VMAs of a range. */
import { MmdumpError } from '../../shared/errors.ts';
import { hex, isPageAligned, PAGE_SIZE, pageAlignUp, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';

/** The pages [from, to), as virtual page numbers. */
export interface PageRange {
  readonly from: number;
  readonly to: number;
}

/** Makes an EINVAL error with this message. */
export function einval(message: string): MmdumpError {
  return new MmdumpError('EINVAL', message);
}

/**
 * Calls `visit` for each VMA that intersects the range, in ascending order, with the slot of the
 * VMA and the pages [from, to) that it has in the range. `visit` may split and merge VMAs. Throws
 * ENOMEM after the last visit if part of the range is not mapped (madvise_walk_vmas). The mmap lock
 * is held in the mode that `visit` needs.
 */
export function forEachVma(
  mm: Mm,
  name: string,
  range: PageRange,
  visit: (slot: number, from: number, to: number) => void,
): void {
  const { vmas } = mm;
  let hole = -1;
  for (let next = range.from; next < range.to; ) {
    const ordinal = vmas.find(next);
    const start = ordinal === vmas.count ? range.to : vmas.start(vmas.slot(ordinal));
    if (start > next && hole < 0) hole = next;
    if (start >= range.to) break;
    const slot = vmas.slot(ordinal);
    const to = Math.min(range.to, vmas.end(slot));
    visit(slot, Math.max(next, start), to);
    next = to;
  }
  if (hole >= 0) throw nothingMapped(name, hole);
}

/** Makes the ENOMEM error of a call that met a hole at page `vpn`. `address` is in bytes. */
export function nothingMapped(name: string, vpn: number): MmdumpError {
  const address = vpn * PAGE_SIZE;
  return new MmdumpError('ENOMEM', `${name}: nothing is mapped at ${hex(address)}`, { address });
}

/** Throws EINVAL unless `address`, in bytes, is the address of a page. */
export function assertPageAddress(name: string, address: number): void {
  if (Number.isSafeInteger(address) && address >= 0 && isPageAligned(address)) return;
  throw einval(`${name}: ${address} is not the address of a page`);
}

/**
 * Throws EINVAL unless `length`, in bytes, is a non-negative safe integer. This refuses every
 * length that would wrap a 64-bit address, for which Linux has the same error.
 */
export function assertLength(name: string, length: number): void {
  if (Number.isSafeInteger(length) && length >= 0) return;
  throw einval(`${name}: length ${length} is not a number of bytes`);
}

/**
 * Converts an address and a length in bytes to a range of pages. The length is rounded up to whole
 * pages. Returns undefined for an empty range. Throws EINVAL for an address that is not the address
 * of a page, and for an invalid length. The range may go beyond user space, which is a hole.
 */
export function parseRange(name: string, address: number, length: number): PageRange | undefined {
  assertPageAddress(name, address);
  assertLength(name, length);
  if (length === 0) return undefined;
  const from = vpnOf(address);
  return { from, to: from + pageAlignUp(length) / PAGE_SIZE };
}

/** As `parseRange`, but throws ENOMEM for a range that goes beyond user space. */
export function parseUserRange(
  name: string,
  address: number,
  length: number,
): PageRange | undefined {
  assertPageAddress(name, address);
  if (length > 0 && address + length > TASK_SIZE) {
    throw new MmdumpError('ENOMEM', `${name}: ${hex(address)} + ${length} is beyond user space`);
  }
  return parseRange(name, address, length);
}
