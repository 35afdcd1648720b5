/** Where a new mapping goes (get_unmapped_area). The mmap lock is held for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, isPageAligned, TASK_PAGES, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';

/** mmap_min_addr */
export const MIN_VPN = 16;
/** stack_guard_gap: pages below a stack that nothing else may come nearer than. */
export const STACK_GUARD_GAP = 256;

/** A free place for `pages`: at the hint (0 = none) if possible, else as high as there is one. */
export function placeMapping(mm: Mm, address: number, pages: number): number {
  if (address !== 0) {
    const hint = Math.max(MIN_VPN, vpnOf(address));
    if (hint + pages <= TASK_PAGES && isFree(mm, hint, pages, STACK_GUARD_GAP)) return hint;
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

/**
 * Start of the highest gap of `pages` below mmap_base (unmapped_area_topdown), or -1. Where a gap is
 * large enough but for the stack above it, nothing above the stack's own gap is taken any more.
 */
function highestGap(mm: Mm, pages: number): number {
  const { vmas } = mm;
  let limit: number = vpnOf(mm.struct.get64(MM_FIELD.MMAP_BASE));
  for (let above = vmas.find(limit); ; above--) {
    const next = above === vmas.count ? -1 : vmas.slot(above);
    const floor = above === 0 ? MIN_VPN : vmas.end(vmas.slot(above - 1));
    let end = next < 0 ? limit : Math.min(limit, vmas.start(next));
    if (next >= 0 && end - pages >= floor) {
      limit = Math.min(limit, startWithGap(mm, next, STACK_GUARD_GAP));
      end = Math.min(end, limit);
    }
    if (end - pages >= floor) return end - pages;
    if (above === 0) return -1;
  }
}
