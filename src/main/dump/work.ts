/** What a pass has to do, as far as it is known before it begins. */
import type { Mm } from '../../mmu/mm/mm.ts';
import { PAGES_RECORD } from '../../shared/formats/cpt/records.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import type { Plan } from './plan.ts';

/** To look at a page, and find out whether it is zero, takes a sixteenth of copying it. */
const CLASSIFIED_PER_COPIED = 16;
/** To pass an entry that shows nothing. */
const PASSED_PER_COPIED = 1024;

/** Bytes that are copied at most: what the page tables of the plan can show, and memory holds. */
export function bytesToCopy([mm]: readonly Mm[], plan: Plan): number {
  const { managedFrames, freeFrames } = mm!.allocator;
  return Math.min(plan.pages, managedFrames - freeFrames) * PAGE_SIZE;
}

/** Bytes whose copying takes as long as the classification will. */
export function bytesToClassify(mms: readonly Mm[], plan: Plan): number {
  const passed = (plan.pages * PAGE_SIZE) / PASSED_PER_COPIED;
  return bytesToCopy(mms, plan) / CLASSIFIED_PER_COPIED + passed;
}

/** No image of these units is longer, whatever their pages turn out to be. */
export function bytesAtMost(recordBytes: number, plan: Plan): number {
  return recordBytes + plan.pages * (PAGE_SIZE + PAGES_RECORD.SIZE);
}

/** Room that a memory sink may be asked for beyond what the machine's memory could fill. */
const SPARE_BYTES = 64 * MiB;

/** Whether that bound is near enough to be reserved in memory, which costs what is touched of it. */
export function isNearBound(atMost: number, mms: readonly Mm[], plan: Plan): boolean {
  return atMost <= 2 * bytesToCopy(mms, plan) + SPARE_BYTES;
}
