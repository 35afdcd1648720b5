/** Arguments of system calls: ranges of addresses. */
import { MmdumpError } from '../../shared/errors.ts';
import { hex, isPageAligned, PAGE_SIZE, pageAlignUp, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';

/** Pages [from, to). */
export interface PageRange {
  readonly from: number;
  readonly to: number;
}

export function einval(message: string): MmdumpError {
  return new MmdumpError('EINVAL', message);
}

/**
 * Calls `visit` for the part of every VMA that lies in the range, ascending; `visit` may split and
 * join VMAs. ENOMEM at the end if part of the range was not mapped.
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

/** ENOMEM of a call that met a hole. */
export function nothingMapped(name: string, vpn: number): MmdumpError {
  const address = vpn * PAGE_SIZE;
  return new MmdumpError('ENOMEM', `${name}: nothing is mapped at ${hex(address)}`, { address });
}

/** EINVAL unless `address` is that of a page. */
export function assertPageAddress(name: string, address: number): void {
  if (Number.isSafeInteger(address) && address >= 0 && isPageAligned(address)) return;
  throw einval(`${name}: ${address} is not the address of a page`);
}

/** EINVAL unless `length` is a number of bytes that does not wrap a 64-bit address. */
export function assertLength(name: string, length: number): void {
  if (Number.isSafeInteger(length) && length >= 0) return;
  throw einval(`${name}: length ${length} is not a number of bytes`);
}

/**
 * Pages of a range argument, rounded up to whole pages; undefined when it is empty. EINVAL for an
 * address that is not a page's. What lies beyond user space is a hole like any other.
 */
export function parseRange(name: string, address: number, length: number): PageRange | undefined {
  assertPageAddress(name, address);
  assertLength(name, length);
  if (length === 0) return undefined;
  const from = vpnOf(address);
  return { from, to: from + pageAlignUp(length) / PAGE_SIZE };
}

/** The same, with ENOMEM for a range that goes beyond user space. */
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
