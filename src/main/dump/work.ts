/** What the phases of a dump have to do, as far as it is known before they begin. */
import type { Mm } from '../../mmu/mm.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { Plan } from './plan.ts';

/** To look at a page, and find out whether it is zero, takes a sixteenth of copying it. */
const CLASSIFIED_PER_COPIED = 16;
/** To pass an entry that shows nothing. */
const PASSED_PER_COPIED = 1024;

/** At most so many bytes will be copied: what the page tables of the plan can show, and memory holds. */
export function bytesToCopy([mm]: readonly Mm[], plan: Plan): number {
  const { managedFrames, freeFrames } = mm!.allocator;
  return Math.min(plan.pages, managedFrames - freeFrames) * PAGE_SIZE;
}

/** Bytes whose copying takes as long as the classification will. */
export function bytesToClassify(mms: readonly Mm[], plan: Plan): number {
  const passed = (plan.pages * PAGE_SIZE) / PASSED_PER_COPIED;
  return bytesToCopy(mms, plan) / CLASSIFIED_PER_COPIED + passed;
}
