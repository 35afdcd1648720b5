/**
 * mmap and munmap (mm/mmap.c): checks of the arguments, and the flags of the new VMA. The mmap lock
 * is held for writing.
 */
import { flag, list, number, oneOf, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import { MmdumpError } from '../../shared/errors.ts';
import {
  addressOf,
  hex,
  isPageAligned,
  PAGE_SIZE,
  pageAlignUp,
  TASK_SIZE,
  vpnOf,
} from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import { PROT, type Prot, protFlags } from '../arguments/prot.ts';
import { assertPageAddress, einval } from '../arguments/range.ts';
import { FILE_BACKING, FILE_KIND } from '../files/file-record.ts';
import { DEV_ZERO } from '../files/file-table.ts';
import { putFile } from '../files/page-cache.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_ADDRESS } from '../mm/mm-struct.ts';
import { fixedPlace, placeMapping } from '../vma/place.ts';
import { assertMapCount, insertVma, unmapRange } from '../vma/vma-edit.ts';
import { VMA_KIND } from '../vma/vma-table.ts';

const MAP_FLAGS = [
  'private',
  'shared',
  'anonymous',
  'fixed',
  'fixed_noreplace',
  'noreserve',
  'growsdown',
  'denywrite',
  'locked',
  'populate',
] as const;

/**
 * The MAP_* flags of mmap(2). Exactly one of 'private' and 'shared' is needed, and 'anonymous' or a
 * file.
 */
export type MapFlag = (typeof MAP_FLAGS)[number];

/** The arguments of `mmap`. Addresses, lengths and offsets are bytes. */
export interface MmapRequest {
  /** Length of the mapping in bytes, rounded up to whole pages. */
  readonly length: number;
  /** Access that the mapping allows. */
  readonly prot: Prot;
  /** What to map, and how. */
  readonly flags: readonly MapFlag[];
  /**
   * Address at which to map: a hint, or with 'fixed' and 'fixed_noreplace' the exact address.
   * Default 0: no hint.
   */
  readonly address?: number | undefined;
  /** The `id` of a SimulatedFile of this machine. Needed without 'anonymous', ignored with it. */
  readonly file?: number | undefined;
  /** Offset in the file in bytes, a multiple of PAGE_SIZE. Default 0. */
  readonly offset?: number | undefined;
  /**
   * Whether the file was opened for reading only, so that a shared mapping of it can never be
   * written. Default false.
   */
  readonly readOnly?: boolean | undefined;
}

export const MMAP_REQUEST: Shape<MmapRequest> = {
  length: number,
  prot: PROT,
  flags: list(oneOf(MAP_FLAGS, 'EINVAL')),
  address: optional(number),
  file: optional(number),
  offset: optional(number),
  readOnly: optional(flag),
};

const MAY_ALL = VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC;
const LOCKED = VM.LOCKED | VM.LOCKONFAULT;

/** Maps memory and returns its address (do_mmap). Throws errors as mmap(2). */
export function doMmap(mm: Mm, request: MmapRequest): number {
  const { length, offset = 0, address = 0 } = request;
  const flags = new Set(request.flags);
  const file = flags.has('anonymous') ? 0 : (request.file ?? 0);
  assertArguments(mm, request, file);
  const pages = pageAlignUp(length) / PAGE_SIZE;
  assertMapCount(mm, 1);
  const noReplace = flags.has('fixed_noreplace');
  const isFixed = noReplace || flags.has('fixed');
  const start = isFixed
    ? fixedPlace(mm, address, pages, noReplace)
    : placeMapping(mm, address, pages);
  assertKind(request, file, flags);
  const vmFlags = vmFlagsOf(request, flags) | (mm.struct.get64(MM_ADDRESS.def_flags) & LOCKED);
  const end = start + pages;
  const vma = { start, end, flags: vmFlags, anonVma: 0, kind: VMA_KIND.ORDINARY };
  if (file === 0 && !flags.has('shared')) {
    if (isFixed && !noReplace) unmapRange(mm, start, end);
    insertVma(mm, { ...vma, file, pgoff: start });
  } else {
    // The reference is taken before the old mappings go: one of them may be the file's last user.
    const held = file === 0 ? createSharedAnonymous(mm, pages) : takeFile(mm, file);
    try {
      if (isFixed && !noReplace) unmapRange(mm, start, end);
      insertVma(mm, { ...vma, file: held, pgoff: file === 0 ? 0 : offset / PAGE_SIZE });
    } finally {
      putFile(mm, held); // the VMA has a reference of its own
    }
  }
  if ((vmFlags & VM.LOCKED) !== 0 || flags.has('populate'))
    mm.toPopulate.push({ from: start, to: end });
  return addressOf(start);
}

/** The checks that Linux makes before it looks for a place, in the same order. */
function assertArguments(mm: Mm, request: MmapRequest, file: number): void {
  const { length, offset = 0, address = 0 } = request;
  if (!(offset >= 0) || !isPageAligned(offset)) {
    throw einval(`mmap: offset ${offset} is not a multiple of the page size`);
  }
  if (!request.flags.includes('anonymous') && !mm.files.exists(file)) {
    const what =
      file === 0 ? "neither a file nor 'anonymous' was given" : `the machine has no file ${file}`;
    throw new MmdumpError('EBADF', `mmap: ${what}`);
  }
  if (length > TASK_SIZE) {
    throw new MmdumpError('ENOMEM', `mmap: ${hex(length)} bytes are more than user space has`);
  }
  if (!Number.isSafeInteger(length) || length <= 0) {
    throw einval(`mmap: length ${length}: expected a positive number of bytes`);
  }
  if (offset > Number.MAX_SAFE_INTEGER) {
    throw new MmdumpError('EOVERFLOW', `mmap: offset ${offset} is beyond any file`);
  }
  if (!Number.isSafeInteger(address) || address < 0) {
    throw einval(`mmap: ${address} is not an address`);
  }
}

/** The checks that Linux makes once it has found a place. */
function assertKind(request: MmapRequest, file: number, flags: ReadonlySet<MapFlag>): void {
  if (flags.has('private') === flags.has('shared')) {
    throw einval("mmap: flags need exactly one of 'private' and 'shared'");
  }
  if (flags.has('growsdown') && (flags.has('shared') || file !== 0)) {
    throw einval("mmap: only private anonymous memory can be 'growsdown'");
  }
  if (request.readOnly === true && flags.has('shared') && request.prot.includes('w')) {
    throw new MmdumpError('EACCES', 'mmap: the file was opened for reading only');
  }
}

function vmFlagsOf(request: MmapRequest, flags: ReadonlySet<MapFlag>): number {
  const shared = flags.has('shared');
  const access = protFlags(request.prot);
  const accounted = !shared && (access & VM.WRITE) !== 0 && !flags.has('noreserve');
  const mayWrite = !shared || request.readOnly !== true;
  return (
    access |
    (mayWrite ? MAY_ALL : MAY_ALL & ~VM.MAYWRITE) |
    (shared ? VM.MAYSHARE | (mayWrite ? VM.SHARED : 0) : 0) |
    (accounted ? VM.ACCOUNT : 0) |
    (flags.has('noreserve') ? VM.NORESERVE : 0) |
    (flags.has('growsdown') ? VM.GROWSDOWN : 0) |
    (flags.has('denywrite') ? VM.DENYWRITE : 0) |
    (flags.has('locked') ? VM.LOCKED : 0)
  );
}

function takeFile(mm: Mm, file: number): number {
  mm.files.get(file);
  return file;
}

/** Creates the file behind a shared anonymous mapping (shmem_zero_setup). */
function createSharedAnonymous(mm: Mm, pages: number): number {
  const kind = FILE_KIND.MEMORY | FILE_KIND.DELETED;
  const size = addressOf(pages);
  return mm.files.create({ path: DEV_ZERO, kind, backing: FILE_BACKING.NONE, size }, mm.thread);
}

/** Unmaps whole pages (do_munmap). Throws EINVAL, as munmap(2). */
export function doMunmap(mm: Mm, address: number, length: number): void {
  assertPageAddress('munmap', address);
  if (!Number.isSafeInteger(length) || length <= 0) {
    throw einval(`munmap: length ${length}: expected a positive number of bytes`);
  }
  if (address > TASK_SIZE || pageAlignUp(length) > TASK_SIZE - address) {
    throw einval(`munmap: ${hex(length)} bytes at ${hex(address)} go beyond user space`);
  }
  const start = vpnOf(address);
  unmapRange(mm, start, start + pageAlignUp(length) / PAGE_SIZE);
}
