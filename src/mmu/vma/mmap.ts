/**
 * mmap, munmap (mm/mmap.c): arguments, placement, the new VMA. The mmap lock is held for writing.
 */
import { MmdumpError } from '../../shared/errors.ts';
import {
  addressOf,
  hex,
  isPageAligned,
  PAGE_SIZE,
  pageAlignUp,
  TASK_PAGES,
  TASK_SIZE,
  vpnOf,
} from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { FILE_BACKING, FILE_KIND } from '../files/file-table.ts';
import { putFile } from '../files/page-cache.ts';
import type { Mm } from '../mm.ts';
import { MM_FIELD } from '../mm-struct.ts';
import { assertMapCount, insertVmaLocked, unmapRangeLocked } from './vma-edit.ts';
import { VMA_KIND } from './vma-table.ts';

/** Access that a mapping allows: any of the letters r, w, x; '' is PROT_NONE. */
export type Prot = '' | 'r' | 'w' | 'x' | 'rw' | 'rx' | 'wx' | 'rwx';

/** MAP_* flags. Exactly one of 'private' and 'shared'; 'anonymous' or a file. */
export type MapFlag =
  | 'private'
  | 'shared'
  | 'anonymous'
  | 'fixed'
  | 'fixed_noreplace'
  | 'noreserve'
  | 'growsdown'
  | 'denywrite';

export interface MmapRequest {
  /** Bytes; rounded up to whole pages. */
  readonly length: number;
  readonly prot: Prot;
  readonly flags: readonly MapFlag[];
  /** Where to map: a hint, or the place itself with 'fixed' and 'fixed_noreplace'. */
  readonly address?: number;
  /** A file of this machine, by id. */
  readonly file?: number;
  /** Bytes from the start of the file; whole pages. */
  readonly offset?: number;
}

/** mmap_min_addr */
const MIN_VPN = 16;
const MAY_ALL = VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC;

export function einval(message: string): MmdumpError {
  return new MmdumpError('EINVAL', message);
}

export function protFlags(prot: Prot): number {
  if (!/^r?w?x?$/.test(prot)) {
    throw einval(`protection '${prot}': expected letters of 'rwx', in this order, or ''`);
  }
  return (
    (prot.includes('r') ? VM.READ : 0) |
    (prot.includes('w') ? VM.WRITE : 0) |
    (prot.includes('x') ? VM.EXEC : 0)
  );
}

/** Maps memory and returns its address (do_mmap). */
export function mmapLocked(mm: Mm, request: MmapRequest): number {
  const { length, offset = 0, file = 0 } = request;
  const flags = new Set(request.flags);
  assertRequest(mm, request, flags);
  const pages = pageAlignUp(length) / PAGE_SIZE;
  assertMapCount(mm, 1);
  const start = chooseAddress(mm, request, pages, flags);
  const vmFlags = vmFlagsOf(request, flags);
  if (flags.has('fixed') && !flags.has('fixed_noreplace')) {
    unmapRangeLocked(mm, start, start + pages);
  }
  const vma = {
    start,
    end: start + pages,
    flags: vmFlags,
    anonVma: 0,
    kind: VMA_KIND.ORDINARY,
  };
  if (file !== 0) {
    insertVmaLocked(mm, { ...vma, file, pgoff: offset / PAGE_SIZE });
  } else if (flags.has('shared')) {
    const shmem = createSharedAnonymous(mm, pages);
    insertVmaLocked(mm, { ...vma, file: shmem, pgoff: 0 });
    putFile(mm, shmem); // the VMA has a reference of its own
  } else {
    insertVmaLocked(mm, { ...vma, file: 0, pgoff: start });
  }
  return addressOf(start);
}

function assertRequest(mm: Mm, request: MmapRequest, flags: ReadonlySet<MapFlag>): void {
  const { length, offset = 0, file = 0, address = 0 } = request;
  if (!Number.isSafeInteger(length) || length <= 0) {
    throw einval(`mmap: length ${length}: expected a positive number of bytes`);
  }
  if (pageAlignUp(length) > TASK_SIZE) {
    throw new MmdumpError('ENOMEM', `mmap: ${hex(length)} bytes are more than user space has`);
  }
  if (!Number.isSafeInteger(address) || address < 0) {
    throw einval(`mmap: ${address} is not an address`);
  }
  if (!Number.isSafeInteger(offset) || offset < 0 || !isPageAligned(offset)) {
    throw einval(`mmap: offset ${offset} is not a multiple of the page size`);
  }
  if (flags.has('private') === flags.has('shared')) {
    throw einval("mmap: flags need exactly one of 'private' and 'shared'");
  }
  if (flags.has('anonymous') === (file !== 0)) {
    throw flags.has('anonymous')
      ? einval("mmap: 'anonymous' and a file exclude each other")
      : new MmdumpError('EBADF', "mmap: neither a file nor 'anonymous' was given");
  }
  if (file !== 0 && !mm.files.exists(file)) {
    throw new MmdumpError('EBADF', `mmap: the machine has no file ${file}`);
  }
}

function vmFlagsOf(request: MmapRequest, flags: ReadonlySet<MapFlag>): number {
  const shared = flags.has('shared');
  const access = protFlags(request.prot);
  const accounted = !shared && (access & VM.WRITE) !== 0 && !flags.has('noreserve');
  return (
    access |
    MAY_ALL |
    (shared ? VM.SHARED | VM.MAYSHARE : 0) |
    (accounted ? VM.ACCOUNT : 0) |
    (flags.has('noreserve') ? VM.NORESERVE : 0) |
    (flags.has('growsdown') ? VM.GROWSDOWN : 0) |
    (flags.has('denywrite') ? VM.DENYWRITE : 0)
  );
}

/** The file behind a shared anonymous mapping (shmem_zero_setup). */
function createSharedAnonymous(mm: Mm, pages: number): number {
  return mm.files.create({
    path: Buffer.from('/dev/zero'),
    kind: FILE_KIND.MEMORY | FILE_KIND.DELETED,
    backing: FILE_BACKING.NONE,
    size: addressOf(pages),
    contentAt: 0,
  });
}

/** First page of the new mapping (get_unmapped_area). */
function chooseAddress(
  mm: Mm,
  request: MmapRequest,
  pages: number,
  flags: ReadonlySet<MapFlag>,
): number {
  const address = request.address ?? 0;
  if (flags.has('fixed') || flags.has('fixed_noreplace')) {
    return fixedAddress(mm, address, pages, flags.has('fixed_noreplace'));
  }
  return placeMapping(mm, address, pages);
}

/** A free place for `pages`: at the hint (0 = none) if possible, else as high as there is one. */
export function placeMapping(mm: Mm, address: number, pages: number): number {
  if (address !== 0) {
    const hint = Math.max(MIN_VPN, vpnOf(pageAlignUp(address)));
    if (hint + pages <= TASK_PAGES && isFree(mm, hint, pages)) return hint;
  }
  const found = highestGap(mm, pages);
  if (found < 0) {
    throw new MmdumpError('ENOMEM', `mmap: no gap of ${hex(addressOf(pages))} bytes is left`);
  }
  return found;
}

function fixedAddress(mm: Mm, address: number, pages: number, noReplace: boolean): number {
  if (address > TASK_SIZE - addressOf(pages)) {
    throw new MmdumpError('ENOMEM', `mmap: ${hex(address)} is too close to the end of user space`);
  }
  if (!isPageAligned(address)) throw einval(`mmap: ${hex(address)} is not the address of a page`);
  const start = vpnOf(address);
  if (start < MIN_VPN) {
    throw new MmdumpError('EPERM', `mmap: ${hex(address)} is below mmap_min_addr`);
  }
  if (noReplace && !isFree(mm, start, pages)) {
    throw new MmdumpError('EEXIST', `mmap: something is mapped at ${hex(address)} already`);
  }
  return start;
}

function isFree(mm: Mm, start: number, pages: number): boolean {
  const ordinal = mm.vmas.find(start);
  return ordinal === mm.vmas.count || mm.vmas.start(mm.vmas.slot(ordinal)) >= start + pages;
}

/** Start of the highest gap of `pages` below mmap_base (vm_unmapped_area, top down), or -1. */
function highestGap(mm: Mm, pages: number): number {
  const { vmas } = mm;
  let end: number = vpnOf(mm.struct.get64(MM_FIELD.MMAP_BASE));
  let ordinal = vmas.find(end);
  if (ordinal < vmas.count) end = Math.min(end, vmas.start(vmas.slot(ordinal)));
  while (end - pages >= MIN_VPN) {
    const below = ordinal - 1;
    const floor = below < 0 ? MIN_VPN : vmas.end(vmas.slot(below));
    if (end - pages >= floor) return end - pages;
    end = vmas.start(vmas.slot(below));
    ordinal = below;
  }
  return -1;
}

/** Unmaps whole pages (do_munmap). */
export function munmapLocked(mm: Mm, address: number, length: number): void {
  if (!Number.isSafeInteger(address) || address < 0 || !isPageAligned(address)) {
    throw einval(`munmap: ${address} is not the address of a page`);
  }
  if (!Number.isSafeInteger(length) || length <= 0) {
    throw einval(`munmap: length ${length}: expected a positive number of bytes`);
  }
  if (address > TASK_SIZE || pageAlignUp(length) > TASK_SIZE - address) {
    throw einval(`munmap: ${hex(length)} bytes at ${hex(address)} go beyond user space`);
  }
  const start = vpnOf(address);
  unmapRangeLocked(mm, start, start + pageAlignUp(length) / PAGE_SIZE);
}
