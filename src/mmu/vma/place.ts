/** Finds the place of a new mapping (get_unmapped_area). The mmap lock is held for writing. */
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex, isPageAligned, TASK_PAGES, TASK_SIZE, vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { MM_FIELD } from '../mm/mm-struct.ts';

/** mmap_min_addr, 64 KiB, as a page number. */
export const MIN_VPN = 16;
/** stack_guard_gap: the pages below a stack that other mappings keep free. */
export const STACK_GUARD_GAP = 256;

/**
 * Returns the first page of a free place for `pages` pages: at the hint `address`, in bytes, if
 * that is free, else the highest gap below mmap_base. The hint 0 means none. Throws ENOMEM when no
 * gap is large enough.
 */
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

/**
 * Returns the first page of the place that the caller insists on (MAP_FIXED); `address` is in
 * bytes. Throws ENOMEM when the place ends beyond user space, EINVAL when it does not begin at a
 * page, EPERM below mmap_min_addr, and with `noReplace` EEXIST when something is mapped there.
 */
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

/**
 * Whether the pages [start, start + pages) are free. If the next VMA above is a stack, the `gap`
 * pages below it do not count as free (vm_start_gap).
 */
export function isFree(mm: Mm, start: number, pages: number, gap: number): boolean {
  const { vmas } = mm;
  const ordinal = vmas.find(start);
  return ordinal === vmas.count || startWithGap(mm, vmas.slot(ordinal), gap) >= start + pages;
}

/** Start of a VMA, and of the gap below it if it is a stack (vm_start_gap). */
function startWithGap(mm: Mm, slot: number, gap: number): number {
  const isStack = (mm.vmas.flags(slot) & VM.GROWSDOWN) !== 0;
  return mm.vmas.start(slot) - (isStack ? gap : 0);
}

/**
 * Returns the first page of the highest place for `pages` pages below mmap_base, or -1
 * (unmapped_area_topdown). If a gap is large enough but a stack is above it, the place has to end
 * below the stack's guard gap; if it does not fit there, the search goes on further down.
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
