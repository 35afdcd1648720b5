/** What both movers do with lists of frame numbers, which are in the order of the image. */
import { BANK_MASK, BANK_SHIFT } from '../../mmu/physical/physical-memory.ts';
import { STAGE_PAGES } from '../../shared/dump/staging-reservations.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { FrameKernels } from './frame-kernels.ts';

/** From this many neighbouring frames on, a run is copied by itself and not staged. */
export const LONG_RUN_STAGED = 4;

// Local copies of what the loops use: see docs/decisions/hot-loops.md.
const SHIFT = BANK_SHIFT;
const MASK = BANK_MASK;
const PAGE_SHIFT = 12;

/**
 * Length of the run of neighbouring frames that begins at `index` and ends at `end` at the latest.
 */
export function runAt(sources: Int32Array, index: number, end: number): number {
  const pfn = sources[index]!;
  let run = 1;
  while (index + run < end && sources[index + run] === pfn + run) run++;
  return run;
}

/** Index after the frames from `index` on that lie in one bank, at most `last`. */
export function endOfBank(sources: Int32Array, index: number, last: number): number {
  const bank = sources[index]! >>> SHIFT;
  let end = index + 1;
  while (end < last && sources[end]! >>> SHIFT === bank) end++;
  return end;
}

/**
 * Copies the frames sources[index] to sources[index + 3], which lie in one bank, to byte `to`.
 * `base`: the byte of the memory at which the bank begins.
 */
export function copyFourAt(
  kernels: FrameKernels,
  sources: Int32Array,
  index: number,
  to: number,
  base: number,
): void {
  kernels.copyFour(
    to,
    (((sources[index]! & MASK) << PAGE_SHIFT) + base) | 0,
    (((sources[index + 1]! & MASK) << PAGE_SHIFT) + base) | 0,
    (((sources[index + 2]! & MASK) << PAGE_SHIFT) + base) | 0,
    (((sources[index + 3]! & MASK) << PAGE_SHIFT) + base) | 0,
  );
}

/**
 * Copies frames of one of the machine's own banks from `index` on to the stage at byte `to`, four
 * at a time. Stops when the stage is
 * full, at a long run, and before `end` when fewer than four frames are left. Returns the number of
 * pages.
 */
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
    copyFourAt(kernels, sources, index, to + pages * PAGE_SIZE, 0);
    index += 4;
    pages += 4;
  }
  return pages;
}
