/** The work of a pass, as far as it is known before the pass begins. */
import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGES_RECORD } from '../../shared/formats/cpt/records.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import type { Plan } from './plan.ts';

/** Pages that are classified, with the test for zeros, in the time in which one page is copied. */
const CLASSIFIED_PER_COPIED = 16;
/** Empty entries that are passed in the time in which one page is copied. */
const PASSED_PER_COPIED = 1024;

/**
 * About how many bytes are copied: the pages that the units span, but not more than the frames that
 * are in use. Pages in swap slots are not counted. Where pages lie in backings, which are in no
 * frame, the units alone tell.
 */
export function bytesToCopy([mm]: readonly Mm[], plan: Plan): number {
  if (!mm!.machine.backings.isEmpty) return plan.pages * PAGE_SIZE;
  const { managedFrames, freeFrames } = mm!.allocator;
  return Math.min(plan.pages, managedFrames - freeFrames) * PAGE_SIZE;
}

/** Bytes whose copy takes as long as the classification will take. */
export function bytesToClassify(mms: readonly Mm[], plan: Plan): number {
  const passed = (plan.pages * PAGE_SIZE) / PASSED_PER_COPIED;
  return bytesToCopy(mms, plan) / CLASSIFIED_PER_COPIED + passed;
}

/**
 * The most bytes that the image can take, whatever the pages turn out to be. `recordBytes` is the
 * length of all records except those of blocks, of which there is at most one per page.
 */
export function bytesAtMost(recordBytes: number, plan: Plan): number {
  return recordBytes + plan.pages * (PAGE_SIZE + PAGES_RECORD.SIZE);
}

/** Bytes that a memory sink may be asked for beyond what the memory of the machine could fill. */
const SPARE_BYTES = 64 * MiB;

/**
 * Whether the bound is near enough to be reserved in memory, where only what is touched has a cost.
 */
export function isNearBound(atMost: number, mms: readonly Mm[], plan: Plan): boolean {
  return atMost <= 2 * bytesToCopy(mms, plan) + SPARE_BYTES;
}
