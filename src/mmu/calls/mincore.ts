/** mincore (mm/mincore.c). The mmap lock is held in either mode. */
import { MmdumpError } from '../../shared/errors.ts';
import { hex, PAGE_SIZE, pageAlignUp, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { assertPageAddress, einval, nothingMapped } from '../arguments/range.ts';
import { cacheLookup } from '../files/page-cache.ts';
import type { Mm } from '../mm/mm.ts';
import { walk } from '../tables/page-table.ts';
import { isBacked, isPresent } from '../tables/pte.ts';

/**
 * Returns one byte per page: 1 if it is in memory, otherwise 0. Throws EINVAL for an address that
 * is not a page's, and ENOMEM if part of the range is not mapped.
 */
export function doMincore(mm: Mm, address: number, length: number): Uint8Array {
  assertPageAddress('mincore', address);
  if (!Number.isFinite(length) || length < 0)
    throw einval(`mincore: length ${length} is not a number of bytes`);
  if (address + length > TASK_SIZE) {
    throw new MmdumpError('ENOMEM', `mincore: ${hex(address)} + ${length} is beyond user space`);
  }
  const from = vpnOf(address);
  const to = from + pageAlignUp(length) / PAGE_SIZE;
  assertMapped(mm, from, to); // before an array as long as the range is allocated
  const resident = new Uint8Array(to - from);
  for (let vpn = from; vpn < to; vpn++) resident[vpn - from] = isResident(mm, vpn) ? 1 : 0;
  return resident;
}

function assertMapped(mm: Mm, from: number, to: number): void {
  for (let next = from; next < to; ) {
    const slot = mm.vmas.lookup(next);
    if (slot < 0) throw nothingMapped('mincore', next);
    next = mm.vmas.end(slot);
  }
}

function isResident(mm: Mm, vpn: number): boolean {
  const { cursor } = mm;
  const found = walk(mm, mm.pgd, vpn, cursor);
  if (found === 'huge') return true;
  if (found === 'table') {
    const low = cursor.words[cursor.at]!;
    if (isPresent(low)) return true;
    // A swapped or backed page is not in memory. A marker counts as no entry: the page cache
    // decides.
    if (isBacked(low)) return false;
    if (low !== 0 && mm.machine.swap.slotOf(low, cursor.words[cursor.at + 1]!) >= 0) return false;
  }
  const slot = mm.vmas.lookup(vpn);
  const file = mm.vmas.file(slot);
  return file !== 0 && isCached(mm, file, mm.vmas.fileIndex(slot, vpn));
}

function isCached(mm: Mm, file: number, index: number): boolean {
  const lock = mm.files.lock(file);
  lock.lock(mm.thread, mm.mayBlock);
  try {
    return cacheLookup(mm, file, index) !== 0;
  } finally {
    lock.unlock(mm.thread);
  }
}
