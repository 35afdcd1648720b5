/**
 * mremap (mm/mremap.c): growing, shrinking and moving mappings. The mmap lock is held for writing.
 * The rules are those of Linux 6.17 and later, where one call can move several VMAs.
 */
import { type Check, list, oneOf } from '../../shared/arguments/checks.ts';
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
import { assertPageAddress, einval } from '../arguments/range.ts';
import type { Progress } from '../fault/access.ts';
import type { Mm } from '../mm/mm.ts';
import { isFree, placeMapping } from '../vma/place.ts';
import { mergeRange, unmapRange } from '../vma/vma-edit.ts';
import { MAX_MAP_COUNT } from '../vma/vma-table.ts';
import { moveVma } from './move-vma.ts';

const MREMAP = ['maymove', 'fixed', 'dontunmap'] as const;

/** The MREMAP_* flags of mremap(2). 'fixed' and 'dontunmap' need 'maymove'. */
export type MremapFlag = (typeof MREMAP)[number];

export const MREMAP_FLAGS: Check<MremapFlag[]> = list(oneOf(MREMAP, 'EINVAL'));

/** A checked request, in pages. */
interface Remap {
  readonly from: number;
  readonly oldPages: number;
  readonly newPages: number;
  readonly mayMove: boolean;
  readonly fixed: boolean;
  readonly dontUnmap: boolean;
  /** First page of the new place: exact with 'fixed', a hint with 'dontunmap'. */
  readonly target: number;
}

/**
 * Resizes or moves a mapping and returns its address. Throws errors as mremap(2). `progress` counts
 * the pages that a move of several VMAs has done, for a call that runs again after a reclaim.
 */
export function doMremap(
  mm: Mm,
  address: number,
  oldLength: number,
  newLength: number,
  flags: readonly MremapFlag[],
  newAddress: number,
  progress: Progress,
): number {
  const remap = parseRemap(address, oldLength, newLength, flags, newAddress);
  if ((remap.fixed || remap.dontUnmap) && mm.vmas.count + 2 >= MAX_MAP_COUNT - 3) {
    throw new MmdumpError('ENOMEM', 'mremap: the mm has too many mappings to move one');
  }
  if (remap.fixed && remap.oldPages === remap.newPages)
    return addressOf(moveRange(mm, remap, progress));
  const slot = mm.vmas.lookup(remap.from);
  if (slot < 0) throw efault(remap.from, 'nothing is mapped there');
  assertFits(mm, slot, remap);
  if (remap.fixed || remap.dontUnmap) return addressOf(remapTo(mm, remap));
  return addressOf(remapAt(mm, slot, remap));
}

function efault(vpn: number, reason: string): MmdumpError {
  return new MmdumpError('EFAULT', `mremap: ${hex(addressOf(vpn))}: ${reason}`, {
    address: addressOf(vpn),
  });
}

/** Checks the arguments and converts them to pages (check_mremap_params). Throws EINVAL. */
function parseRemap(
  address: number,
  oldLength: number,
  newLength: number,
  flags: readonly MremapFlag[],
  newAddress: number,
): Remap {
  assertPageAddress('mremap', address);
  if (!(oldLength >= 0) || !Number.isFinite(oldLength)) throw einval(`mremap: ${oldLength}`);
  if (!(newLength > 0) || newLength > TASK_SIZE) {
    throw einval(`mremap: new length ${newLength}: expected a positive number of bytes`);
  }
  const chosen = new Set(flags);
  const remap = {
    from: vpnOf(address),
    oldPages: pageAlignUp(oldLength) / PAGE_SIZE,
    newPages: pageAlignUp(newLength) / PAGE_SIZE,
    mayMove: chosen.has('maymove'),
    fixed: chosen.has('fixed'),
    dontUnmap: chosen.has('dontunmap'),
    target: vpnOf(newAddress),
  };
  if (!remap.fixed && !remap.dontUnmap) return remap;
  if (!isPageAligned(newAddress) || !(newAddress >= 0)) {
    throw einval(`mremap: new address ${newAddress} is not the address of a page`);
  }
  if (newAddress > TASK_SIZE - pageAlignUp(newLength)) {
    throw einval(`mremap: ${hex(newAddress)} is too close to the end of user space`);
  }
  if (!remap.mayMove) throw einval("mremap: 'fixed' and 'dontunmap' need 'maymove'");
  if (remap.dontUnmap && remap.oldPages !== remap.newPages) {
    throw einval("mremap: 'dontunmap' cannot change the length");
  }
  const isApart =
    remap.from + remap.oldPages <= remap.target || remap.target + remap.newPages <= remap.from;
  if (!isApart) throw einval('mremap: the old and the new place overlap');
  return remap;
}

/** Checks that the VMA at the start of the range allows the request (check_prep_vma). */
function assertFits(mm: Mm, slot: number, remap: Remap): void {
  const { from, oldPages, newPages, dontUnmap, fixed } = remap;
  if (newPages === oldPages && !fixed && !dontUnmap) return;
  const isShrink = newPages < oldPages;
  if (isShrink && !fixed) return;
  const flags = mm.vmas.flags(slot);
  if (oldPages === 0 && (flags & (VM.SHARED | VM.MAYSHARE)) === 0) {
    throw einval('mremap: only shared mappings can be mapped a second time');
  }
  if (dontUnmap && (flags & (VM.DONTEXPAND | VM.PFNMAP)) !== 0) {
    throw einval("mremap: this mapping cannot be moved with 'dontunmap'");
  }
  const needed = isShrink ? newPages : oldPages;
  if (needed > mm.vmas.end(slot) - from)
    throw efault(from, 'the mapping ends before the range does');
  if (newPages > oldPages && (flags & (VM.DONTEXPAND | VM.PFNMAP)) !== 0) {
    throw efault(from, 'this mapping cannot grow');
  }
}

/** Resizes a mapping, in place if possible (mremap_at). */
function remapAt(mm: Mm, slot: number, remap: Remap): number {
  const { from, oldPages, newPages, mayMove } = remap;
  if (newPages === oldPages) return from;
  if (newPages < oldPages) {
    shrink(mm, from, oldPages, newPages);
    return from;
  }
  const end = mm.vmas.end(slot);
  if (from + oldPages === end && isFree(mm, end, newPages - oldPages, 0)) {
    if (addressOf(from + newPages) <= TASK_SIZE) {
      mm.vmas.setEnd(slot, from + newPages);
      mergeRange(mm, from + newPages, from + newPages);
      populateGrown(mm, from + oldPages, from + newPages);
      return from;
    }
  }
  if (!mayMove) throw new MmdumpError('ENOMEM', 'mremap: there is no room to grow in place');
  const to = moveVma(mm, slot, { ...remap, to: placeMapping(mm, 0, newPages) });
  populateGrown(mm, to + oldPages, to + newPages);
  return to;
}

/** Moves a mapping with 'fixed' or 'dontunmap' (mremap_to). */
function remapTo(mm: Mm, remap: Remap): number {
  const { from, newPages, fixed, target } = remap;
  let { oldPages } = remap;
  if (fixed) unmapRange(mm, target, target + newPages);
  // The unmapping may have removed a part of the mapping that is to be moved.
  if (mm.vmas.lookup(from) < 0) throw efault(from, 'nothing is mapped there');
  if (newPages < oldPages) {
    shrink(mm, from, oldPages, newPages);
    oldPages = newPages;
  }
  const to = fixed ? target : placeMapping(mm, addressOf(target), newPages);
  moveVma(mm, mm.vmas.lookup(from), { ...remap, oldPages, to });
  if (newPages > oldPages) populateGrown(mm, to + oldPages, to + newPages);
  return to;
}

/**
 * Unmaps the pages beyond `newPages`. Throws EINVAL, as munmap does, if the old range ends beyond
 * user space.
 */
function shrink(mm: Mm, from: number, oldPages: number, newPages: number): void {
  if (addressOf(from + oldPages) > TASK_SIZE) {
    throw einval(`mremap: ${hex(addressOf(oldPages))} bytes go beyond user space`);
  }
  unmapRange(mm, from + newPages, from + oldPages);
}

/**
 * Moves every VMA of the range and keeps the holes between them (remap_move). Throws EFAULT if the
 * range begins with a hole.
 */
function moveRange(mm: Mm, remap: Remap, progress: Progress): number {
  const { from, oldPages, target } = remap;
  const { vmas } = mm;
  const end = from + oldPages;
  if (progress.done === 0 && vmas.lookup(from) < 0) throw efault(from, 'nothing is mapped there');
  for (let next = from + progress.done; next < end; ) {
    const ordinal = vmas.find(next);
    if (ordinal === vmas.count || vmas.start(vmas.slot(ordinal)) >= end) break;
    const slot = vmas.slot(ordinal);
    const start = Math.max(next, vmas.start(slot));
    const pages = Math.min(end, vmas.end(slot)) - start;
    const part = { ...remap, from: start, oldPages: pages, newPages: pages };
    assertFits(mm, slot, part);
    remapTo(mm, { ...part, target: target + (start - from) });
    next = start + pages;
    progress.done = next - from; // for the case that memory runs out at the next VMA
  }
  return target;
}

/** Queues the pages that a locked mapping has gained, to be faulted in after the call. */
function populateGrown(mm: Mm, from: number, to: number): void {
  const slot = mm.vmas.lookup(from);
  if (slot >= 0 && (mm.vmas.flags(slot) & VM.LOCKED) !== 0) mm.toPopulate.push({ from, to });
}
