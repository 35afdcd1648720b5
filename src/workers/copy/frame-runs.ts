/** Lists of frame numbers, in the order of the image: what copies of them have in common. */
import { BANK_MASK, BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { STAGE_PAGES } from '../../shared/dump/staging-rooms.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { FrameKernels } from './frame-kernels.ts';

/** Pages of neighbouring frames that are worth a copy of their own, where short runs are staged. */
export const LONG_RUN_STAGED = 4;

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const SHIFT = BANK_SHIFT;
const MASK = BANK_MASK;
const PAGE_SHIFT = 12;

/** How many frames from `index` on, before `end`, are neighbours. */
export function runAt(sources: Int32Array, index: number, end: number): number {
  const pfn = sources[index]!;
  let run = 1;
  while (index + run < end && sources[index + run] === pfn + run) run++;
  return run;
}

/** Behind the last of the frames from `index` on, before `last`, that lie in one bank. */
export function endOfBank(sources: Int32Array, index: number, last: number): number {
  const bank = sources[index]! >>> SHIFT;
  let end = index + 1;
  while (end < last && sources[end]! >>> SHIFT === bank) end++;
  return end;
}

/** Copies four pages of one bank, from `index` on, to byte `to`. */
export function copyFourAt(
  kernels: FrameKernels,
  sources: Int32Array,
  index: number,
  to: number,
): void {
  kernels.copyFour(
    to,
    (sources[index]! & MASK) << PAGE_SHIFT,
    (sources[index + 1]! & MASK) << PAGE_SHIFT,
    (sources[index + 2]! & MASK) << PAGE_SHIFT,
    (sources[index + 3]! & MASK) << PAGE_SHIFT,
  );
}

/** Fills a stage at byte `to` with pages up to the next long run; returns how many. */
export function gather(
  kernels: FrameKernels,
  sources: Int32Array,
  index: number,
  end: number,
  to: number,
): number {
  let pages = 0;
  while (pages < STAGE_PAGES) {
    const left = Math.min(end - index, STAGE_PAGES);
    if (left < 4 || runAt(sources, index, index + left) >= LONG_RUN_STAGED) break;
    copyFourAt(kernels, sources, index, to + pages * PAGE_SIZE);
    index += 4;
    pages += 4;
  }
  return pages;
}
