/**
 * Mappings of adopted memory (`physical/adopted.ts`): private anonymous memory whose pages are there
 * from the beginning, in frames of the caller. It differs from other anonymous memory only in the
 * flag of its frames. The mmap lock is held for writing.
 */
import { list, number, oneOf, optional } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import {
  addressOf,
  GRANULE_PAGES,
  hex,
  isPageAligned,
  PAGE_SIZE,
  pageAlignUp,
} from '../../shared/page.ts';
import { pagePrivileges, VM } from '../../shared/vm-flags.ts';
import { PROT, type Prot, protFlags } from '../arguments/prot.ts';
import { einval } from '../arguments/range.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_ADDRESS } from '../mm/mm-struct.ts';
import type { AdoptedBank } from '../physical/adopted.ts';
import { PG } from '../physical/page-struct.ts';
import { lockTable, unlockTable } from '../tables/page-table.ts';
import { highOf, leafFlags, lowOf, setEntry } from '../tables/pte.ts';
import { ensureTables } from '../tables/shared-table.ts';
import { prepareAnonVma } from '../vma/anon-vma.ts';
import { fixedPlace, placeMapping } from '../vma/place.ts';
import { assertMapCount, insertVma, unmapRange } from '../vma/vma-edit.ts';
import { VMA_KIND } from '../vma/vma-table.ts';

const FRAMES_FLAGS = ['fixed', 'fixed_noreplace', 'locked'] as const;

/** The flags of `mapFrames`. They mean what they mean for `mmap`. */
export type FramesFlag = (typeof FRAMES_FLAGS)[number];

/** The arguments of `mapFrames`. Addresses, lengths and offsets are bytes. */
export interface FramesRequest {
  /** Length of the mapping in bytes, rounded up to whole pages. */
  readonly length: number;
  /** Access that the mapping allows. */
  readonly prot: Prot;
  /** Which of the `banks` of the machine to map, from 0 on. Default 0. */
  readonly bank?: number | undefined;
  /** Offset in the bank in bytes, a multiple of PAGE_SIZE. Default 0. */
  readonly offset?: number | undefined;
  /**
   * Address at which to map: a hint, or with 'fixed' and 'fixed_noreplace' the exact address.
   * Default 0: no hint.
   */
  readonly address?: number | undefined;
  /** How to map. Default: no flags. */
  readonly flags?: readonly FramesFlag[] | undefined;
}

export const FRAMES_REQUEST: Shape<FramesRequest> = {
  length: number,
  prot: PROT,
  bank: optional(number),
  offset: optional(number),
  address: optional(number),
  flags: optional(list(oneOf(FRAMES_FLAGS, 'EINVAL'))),
};

const LOCKED = VM.LOCKED | VM.LOCKONFAULT;

/**
 * Maps frames of an adopted bank and returns the address. Throws EINVAL for a bank that the machine
 * does not have, and for an offset or a length that does not fit it. Throws the errors of mmap for
 * the place. Throws ENOMEM if the mm has too many mappings or no frame for a page table is left.
 */
export function doMapFrames(mm: Mm, request: FramesRequest): number {
  const { prot, address = 0 } = request;
  const flags = new Set(request.flags);
  const { first, pages } = framesOf(mm.machine.adopted, request);
  if (!Number.isSafeInteger(address) || address < 0) {
    throw einval(`mapFrames: ${address} is not an address`);
  }
  assertMapCount(mm, 1);
  const noReplace = flags.has('fixed_noreplace');
  const isFixed = noReplace || flags.has('fixed');
  const start = isFixed
    ? fixedPlace(mm, address, pages, noReplace)
    : placeMapping(mm, address, pages);
  const end = start + pages;
  const access = protFlags(prot) | VM.MAYREAD | VM.MAYWRITE | VM.MAYEXEC;
  const locked = flags.has('locked') ? VM.LOCKED : 0;
  const accounted = (access & VM.WRITE) !== 0 ? VM.ACCOUNT : 0; // as for mmap, so that VMAs merge
  const vmFlags = access | accounted | locked | (mm.struct.get64(MM_ADDRESS.def_flags) & LOCKED);
  if (isFixed && !noReplace) unmapRange(mm, start, end);
  const vma = { start, end, flags: vmFlags, file: 0, pgoff: start };
  insertVma(mm, { ...vma, anonVma: 0, kind: VMA_KIND.ORDINARY });
  try {
    installLeaves(mm, start, pages, vmFlags, first);
  } catch (error) {
    unmapRange(mm, start, end); // no frame was free for a table: the call may run again
    throw error;
  }
  return addressOf(start);
}

/** The frames that a request means. */
function framesOf(
  banks: readonly AdoptedBank[],
  { length, bank = 0, offset = 0 }: FramesRequest,
): { readonly first: number; readonly pages: number } {
  const found = banks[bank];
  if (found === undefined) {
    throw einval(`mapFrames: there is no bank ${bank}: createMachine was given ${banks.length}`);
  }
  if (!Number.isSafeInteger(offset) || offset < 0 || !isPageAligned(offset)) {
    throw einval(`mapFrames: offset ${offset} is not a multiple of the page size`);
  }
  if (!Number.isSafeInteger(length) || length <= 0) {
    throw einval(`mapFrames: length ${length}: expected a positive number of bytes`);
  }
  const pages = pageAlignUp(length) / PAGE_SIZE;
  const at = offset / PAGE_SIZE;
  if (at + pages > found.pages) {
    const size = addressOf(found.pages);
    throw einval(
      `mapFrames: ${hex(offset)} + ${length} is beyond the ${size} bytes of bank ${bank}`,
    );
  }
  return { first: found.pfn + at, pages };
}

/** Installs one leaf per page. All of them are dirty, since nobody knows what the caller writes. */
function installLeaves(mm: Mm, start: number, pages: number, flags: number, first: number): void {
  const { cursor } = mm;
  const slot = mm.vmas.lookup(start);
  const anonVma = prepareAnonVma(mm, slot);
  const index = mm.vmas.fileIndex(slot, start);
  const step = mm.machine.nextAdoptedStep();
  const privileges = pagePrivileges(flags);
  const bits = leafFlags(privileges.low, (flags & VM.WRITE) !== 0, true);
  for (let done = 0; done < pages; ) {
    const vpn = start + done;
    const count = Math.min(pages - done, GRANULE_PAGES - (vpn % GRANULE_PAGES));
    ensureTables(mm, mm.pgd, vpn, 1, cursor);
    lockTable(mm, cursor.table);
    for (let page = 0; page < count; page++) {
      const pfn = first + done + page;
      describeAdopted(mm, pfn, anonVma, index + done + page, step);
      const high = highOf(pfn, privileges.high);
      setEntry(cursor.words, cursor.at + page * 2, lowOf(pfn, bits), high);
    }
    unlockTable(mm, cursor.table);
    done += count;
  }
}

/**
 * Describes the frame as an anonymous page, and counts one more leaf that maps it. A frame that is
 * mapped several times is described as the page of its last mapping.
 */
function describeAdopted(mm: Mm, pfn: number, anonVma: number, index: number, step: number): void {
  mm.pages.describe(pfn, PG.ANON | PG.SWAPBACKED | PG.ADOPTED, anonVma, index);
  mm.pages.get(pfn);
  mm.pages.addMapping(pfn);
  mm.machine.adoptedMarks?.noteMapping(pfn, step);
}
