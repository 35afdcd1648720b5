/**
 * Loads and stores through translation, as the processor and copy_from_user do them. The mmap lock
 * is held in either mode.
 *
 * A page is copied while the lock of its page table is held, so a store and another thread's copy
 * of the same page exclude each other. A store that spans several pages is not atomic as a whole.
 *
 * An access can be interrupted between two pages, because memory has to be reclaimed or the stack
 * has to grow. It then continues where it stopped, and `Progress` says where that is. Bytes that
 * were stored are not stored again, since another thread may have overwritten them in the meantime.
 */
import { number, wholeNumber } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { hex, PAGE_SIZE, type Pfn, TASK_SIZE } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { unlockTable } from '../tables/page-table.ts';
import { lockPage, touchRun } from './fault.ts';

/** Most pages that are copied under one page-table lock. This takes a few microseconds. */
const RUN = 16;
const PAGE_MASK = PAGE_SIZE - 1;

export interface Progress {
  /** How much is done: bytes of an access, pages in a caller that counts pages. */
  done: number;
}

/**
 * Throws SIGSEGV unless [address, address + length) lies below 2^47. Nothing can be mapped in the
 * last page of that range (at TASK_SIZE), so an access to it faults. An address that is not a
 * number is OPTION_INVALID, a number that is not whole is EINVAL.
 */
export function assertUserRange(address: number, length: number): void {
  const isWhole = Number.isSafeInteger(address) && address >= 0;
  if (isWhole && address + length <= TASK_SIZE + PAGE_SIZE) return;
  if (!Number.isInteger(number('address', address))) {
    throw new MmdumpError('EINVAL', `address: ${address}: expected a whole number of bytes`);
  }
  const shown = isWhole ? hex(address) : String(address);
  throw new MmdumpError('SIGSEGV', `${shown} is not an address of user space`, { address });
}

const LENGTH = wholeNumber(0);
const BYTE = wholeNumber(0, 0xff);

/** Throws OPTION_INVALID unless `length` is a number of bytes and `value` is a byte. */
export function assertFill(length: unknown, value: unknown): void {
  LENGTH('length', length);
  BYTE('value', value);
}

/** Number of pages that `length` bytes touch, from `offset` in the first page on; at most RUN. */
function pagesOf(offset: number, length: number): number {
  return Math.min(RUN, Math.ceil((offset + length) / PAGE_SIZE));
}

/**
 * The bytes of the bank that holds the frame, which `lockPage` has returned. Throws BANK_UNREACHABLE,
 * and then the page table is not locked any more.
 */
function bytesUnderLock(mm: Mm, pfn: Pfn): Uint8Array {
  try {
    return mm.memory.bytesOf(pfn);
  } catch (error) {
    unlockTable(mm, mm.cursor.table);
    throw error;
  }
}

/** Loads the bytes from `address` on into `into`. */
export function loadBytes(mm: Mm, address: number, into: Uint8Array, progress: Progress): void {
  const { length } = into;
  assertUserRange(address, length);
  while (progress.done < length) {
    const { done } = progress;
    const at = address + done;
    const offset = at & PAGE_MASK;
    const vpn = (at - offset) / PAGE_SIZE;
    const pfn = lockPage(mm, vpn, false);
    const pages = touchRun(mm, vpn, pfn, false, pagesOf(offset, length - done));
    const count = Math.min(pages * PAGE_SIZE - offset, length - done);
    const from = mm.memory.byteAt(pfn) + offset;
    into.set(bytesUnderLock(mm, pfn).subarray(from, from + count), done);
    unlockTable(mm, mm.cursor.table);
    progress.done = done + count;
  }
}

/** Stores `bytes` from `address` on. */
export function storeBytes(mm: Mm, address: number, bytes: Uint8Array, progress: Progress): void {
  const { length } = bytes;
  assertUserRange(address, length);
  while (progress.done < length) {
    const { done } = progress;
    const at = address + done;
    const offset = at & PAGE_MASK;
    const vpn = (at - offset) / PAGE_SIZE;
    const pfn = lockPage(mm, vpn, true);
    const pages = touchRun(mm, vpn, pfn, true, pagesOf(offset, length - done));
    const count = Math.min(pages * PAGE_SIZE - offset, length - done);
    const part = count === length ? bytes : bytes.subarray(done, done + count);
    bytesUnderLock(mm, pfn).set(part, mm.memory.byteAt(pfn) + offset);
    unlockTable(mm, mm.cursor.table);
    progress.done = done + count;
  }
}

/** Sets `length` bytes from `address` on to `value` (memset). */
export function fillBytes(
  mm: Mm,
  address: number,
  length: number,
  value: number,
  progress: Progress,
): void {
  assertUserRange(address, length);
  // fill() is not used on shared memory: V8 stores byte by byte there, four times as slow as set().
  const pattern = new Uint8Array(Math.min(length, PAGE_SIZE)).fill(value);
  while (progress.done < length) {
    const at = address + progress.done;
    const offset = at & PAGE_MASK;
    const count = Math.min(PAGE_SIZE - offset, length - progress.done);
    const pfn = lockPage(mm, (at - offset) / PAGE_SIZE, true);
    const from = mm.memory.byteAt(pfn) + offset;
    const part = count === pattern.length ? pattern : pattern.subarray(0, count);
    bytesUnderLock(mm, pfn).set(part, from);
    unlockTable(mm, mm.cursor.table);
    progress.done += count;
  }
}
