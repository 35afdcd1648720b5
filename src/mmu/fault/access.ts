/**
 * Loads and stores through translation, as the processor and copy_from_user do them.
 *
 * A page is copied while its page-table lock is held: a store and a copy of the same page by
 * another thread exclude each other. A store that spans several pages is not atomic as a whole.
 *
 * An access may be interrupted between two pages (memory had to be reclaimed, the stack had to
 * grow) and goes on where it stopped: what was stored is not stored again, since another thread may
 * have written there meanwhile. `Progress` is what it remembers.
 */
import { number, wholeNumber } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { hex, PAGE_SIZE, TASK_SIZE } from '../../shared/page.ts';
import type { Mm } from '../mm/mm.ts';
import { unlockTable } from '../tables/page-table.ts';
import { lockPage, runLocked } from './fault.ts';

/** Pages that are copied under one lock: some microseconds. */
const RUN = 16;
const PAGE_MASK = PAGE_SIZE - 1;

export interface Progress {
  /** Bytes that are done. */
  done: number;
}

/**
 * SIGSEGV unless [address, address + length) lies in user space. What is no address at all is
 * OPTION_INVALID where it is no number, and EINVAL where it is no whole one.
 */
function assertUserRange(address: number, length: number): void {
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

/** OPTION_INVALID unless these say how many bytes are to be filled, and with what. */
export function assertFill(length: unknown, value: unknown): void {
  LENGTH('length', length);
  BYTE('value', value);
}

/** Pages that `length` bytes from `offset` in a page on lie in, at most RUN. */
function pagesOf(offset: number, length: number): number {
  return Math.min(RUN, Math.ceil((offset + length) / PAGE_SIZE));
}

/** Fills `into` from `address` on. mmap lock held. */
export function readLocked(mm: Mm, address: number, into: Uint8Array, progress: Progress): void {
  const { length } = into;
  assertUserRange(address, length);
  while (progress.done < length) {
    const { done } = progress;
    const at = address + done;
    const offset = at & PAGE_MASK;
    const vpn = (at - offset) / PAGE_SIZE;
    const pfn = lockPage(mm, vpn, false);
    const pages = runLocked(mm, vpn, pfn, false, pagesOf(offset, length - done));
    const count = Math.min(pages * PAGE_SIZE - offset, length - done);
    const from = mm.memory.byteAt(pfn) + offset;
    into.set(mm.memory.bytesOf(pfn).subarray(from, from + count), done);
    unlockTable(mm, mm.cursor.table);
    progress.done = done + count;
  }
}

/** Stores `bytes` from `address` on. mmap lock held. */
export function writeLocked(mm: Mm, address: number, bytes: Uint8Array, progress: Progress): void {
  const { length } = bytes;
  assertUserRange(address, length);
  while (progress.done < length) {
    const { done } = progress;
    const at = address + done;
    const offset = at & PAGE_MASK;
    const vpn = (at - offset) / PAGE_SIZE;
    const pfn = lockPage(mm, vpn, true);
    const pages = runLocked(mm, vpn, pfn, true, pagesOf(offset, length - done));
    const count = Math.min(pages * PAGE_SIZE - offset, length - done);
    const part = count === length ? bytes : bytes.subarray(done, done + count);
    mm.memory.bytesOf(pfn).set(part, mm.memory.byteAt(pfn) + offset);
    unlockTable(mm, mm.cursor.table);
    progress.done = done + count;
  }
}

/** Fills `length` bytes with one value (memset). mmap lock held. */
export function fillLocked(
  mm: Mm,
  address: number,
  length: number,
  value: number,
  progress: Progress,
): void {
  assertUserRange(address, length);
  // Not fill(): on shared memory V8 stores byte by byte, four times as slow as set().
  const pattern = new Uint8Array(Math.min(length, PAGE_SIZE)).fill(value);
  while (progress.done < length) {
    const at = address + progress.done;
    const offset = at & PAGE_MASK;
    const count = Math.min(PAGE_SIZE - offset, length - progress.done);
    const pfn = lockPage(mm, (at - offset) / PAGE_SIZE, true);
    const from = mm.memory.byteAt(pfn) + offset;
    const part = count === pattern.length ? pattern : pattern.subarray(0, count);
    mm.memory.bytesOf(pfn).set(part, from);
    unlockTable(mm, mm.cursor.table);
    progress.done += count;
  }
}
