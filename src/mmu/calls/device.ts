/**
 * Mappings of device memory (remap_pfn_range), the frames at the top of physical memory that the
 * allocator never owns. Their leaves are SPECIAL: no normal page lies behind them (vm_normal_page).
 * The mmap lock is held for writing.
 */
import { flag, number, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { addressOf, hex, isPageAligned, PAGE_SIZE, pageAlignUp } from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import { PROT, type Prot, protFlags } from '../arguments/prot.ts';
import { einval } from '../arguments/range.ts';
import type { DeviceMemory } from '../mm/machine-parts.ts';
import type { Mm } from '../mm/mm.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import { highOf, leafFlags, lowOf, PTE, setEntry } from '../tables/pte.ts';
import { ensureTables } from '../tables/shared-table.ts';
import { placeMapping } from '../vma/place.ts';
import { assertMapCount, insertVma, unmapRange } from '../vma/vma-edit.ts';
import { VMA_KIND } from '../vma/vma-table.ts';

/** The arguments of `mapDevice`. */
export interface DeviceRequest {
  /** Length of the mapping in bytes, rounded up to whole pages. */
  readonly length: number;
  /** Access that the mapping allows. */
  readonly prot: Prot;
  /** Offset in the device memory in bytes, a multiple of PAGE_SIZE. Default 0. */
  readonly offset?: number | undefined;
  /** Whether reads have side effects (VM_IO), so that a dump leaves the pages out. Default true. */
  readonly io?: boolean | undefined;
  /** Address in bytes at which to map, as a hint. Default 0: no hint. */
  readonly address?: number | undefined;
}

export const DEVICE_REQUEST: Shape<DeviceRequest> = {
  length: number,
  prot: PROT,
  offset: optional(number),
  io: optional(flag),
  address: optional(number),
};

/**
 * Maps device memory, shared, and returns its address. Throws EINVAL for an offset or a length that
 * does not fit the device. Throws ENOMEM if the mm has too many mappings, or if no gap or no frame
 * for a page table is left.
 */
export function doMapDevice(mm: Mm, device: DeviceMemory, request: DeviceRequest): number {
  const { length, prot, offset = 0, io = true, address = 0 } = request;
  if (!Number.isSafeInteger(address) || address < 0) {
    throw einval(`mapDevice: ${address} is not an address`);
  }
  if (!Number.isSafeInteger(offset) || offset < 0 || !isPageAligned(offset)) {
    throw einval(`mapDevice: offset ${offset} is not a multiple of the page size`);
  }
  if (!Number.isSafeInteger(length) || length <= 0) {
    throw einval(`mapDevice: length ${length}: expected a positive number of bytes`);
  }
  const pages = pageAlignUp(length) / PAGE_SIZE;
  const firstPage = offset / PAGE_SIZE;
  if (firstPage + pages > device.frames) {
    const size = addressOf(device.frames);
    throw einval(`mapDevice: ${hex(offset)} + ${length} is beyond the ${size} bytes of the device`);
  }
  const flags = deviceFlags(prot, io);
  const pfn = device.first + firstPage;
  assertMapCount(mm, 1);
  const start = placeMapping(mm, address, pages);
  const kind = VMA_KIND.ORDINARY;
  const end = start + pages;
  insertVma(mm, { start, end, flags, file: 0, pgoff: firstPage, anonVma: 0, kind });
  try {
    installLeaves(mm, start, pages, flags, pfn);
  } catch (error) {
    unmapRange(mm, start, end); // no frame was free for a table: the call may run again
    throw error;
  }
  return addressOf(start);
}

function deviceFlags(prot: Prot, io: boolean): number {
  const may = VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC | VM.MAYSHARE;
  const special = VM.PFNMAP | VM.DONTEXPAND | VM.DONTDUMP | (io ? VM.IO : 0);
  return protFlags(prot) | may | VM.SHARED | special;
}

function installLeaves(mm: Mm, start: number, pages: number, flags: number, first: number): void {
  const { cursor } = mm;
  const privileges = pagePrivileges(flags);
  const bits = leafFlags(privileges.low, (flags & VM.WRITE) !== 0, false) | PTE.SPECIAL;
  for (let page = 0; page < pages; page++) {
    ensureTables(mm, mm.pgd, start + page, 1, cursor);
    lockTable(mm, cursor.table);
    const pfn = first + page;
    setEntry(cursor.words, cursor.at, lowOf(pfn, bits), highOf(pfn, privileges.high));
    unlockTable(mm, cursor.table);
  }
}
