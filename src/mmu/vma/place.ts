/** Where a new mapping goes (get_unmapped_area). The mmap lock is held for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, isPageAligned, TASK_PAGES, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm.ts';
import { MM_FIELD } from '../mm-struct.ts';

/** mmap_min_addr */
export const MIN_VPN = 16;
/** stack_guard_gap, see stack.ts; a stack keeps it free below itself. */
const GAP = 256;

/** A free place for `pages`: at the hint (0 = none) if possible, else as high as there is one. */
export function placeMapping(mm: Mm, address: number, pages: number): number {
  if (address !== 0) {
    const hint = Math.max(MIN_VPN, vpnOf(address));
    if (hint + pages <= TASK_PAGES && isFree(mm, hint, pages, GAP)) return hint;
  }
  const found = highestGap(mm, pages);
  if (found < 0) {
    throw new MmdumpError('ENOMEM', `mmap: no gap of ${hex(addressOf(pages))} bytes is left`);
  }
  return found;
}

/** The place that the caller insists on. ENOMEM, EINVAL, EPERM, and EEXIST with `noReplace`. */
export function fixedPlace(mm: Mm, address: number, pages: number, noReplace: boolean): number {
  if (address > TASK_SIZE - addressOf(pages)) {
    throw new MmdumpError('ENOMEM', `mmap: ${hex(address)} is too close to the end of user space`);
  }
  if (!isPageAligned(address)) {
    throw new MmdumpError('EINVAL', `mmap: ${hex(address)} is not the address of a page`);
  }
  const start = vpnOf(address);
  if (start < MIN_VPN) {
    throw new MmdumpError('EPERM', `mmap: ${hex(address)} is below mmap_min_addr`);
  }
  if (noReplace && !isFree(mm, start, pages, 0)) {
    throw new MmdumpError('EEXIST', `mmap: something is mapped at ${hex(address)} already`);
  }
  return start;
}

/** Whether [start, start + pages) is free, with `gap` pages below a stack (vm_start_gap). */
export function isFree(mm: Mm, start: number, pages: number, gap: number): boolean {
  const { vmas } = mm;
  const ordinal = vmas.find(start);
  return ordinal === vmas.count || startWithGap(mm, vmas.slot(ordinal), gap) >= start + pages;
}

function startWithGap(mm: Mm, slot: number, gap: number): number {
  const isStack = (mm.vmas.flags(slot) & VM.GROWSDOWN) !== 0;
  return mm.vmas.start(slot) - (isStack ? gap : 0);
}

/** Start of the highest gap of `pages` below mmap_base (vm_unmapped_area, top down), or -1. */
function highestGap(mm: Mm, pages: number): number {
  const { vmas } = mm;
  let end: number = vpnOf(mm.struct.get64(MM_FIELD.MMAP_BASE));
  let ordinal = vmas.find(end);
  if (ordinal < vmas.count) end = Math.min(end, startWithGap(mm, vmas.slot(ordinal), GAP));
  while (end - pages >= MIN_VPN) {
    const below = ordinal - 1;
    const floor = below < 0 ? MIN_VPN : vmas.end(vmas.slot(below));
    if (end - pages >= floor) return end - pages;
    if (below < 0) return -1;
    end = startWithGap(mm, vmas.slot(below), GAP);
    ordinal = below;
  }
  return -1;
}
