/**
 * Staging memory of workers: reservations in the banks, where a worker gathers pages before they go
 * to their place in the image.
 */
import { PAGE_SIZE } from '../page.ts';
import { SEGMENT_BYTES_MAX } from './segment-cut.ts';

/**
 * The most pages of short runs that are staged at once. They stay in the first-level cache together
 * with the pages that are read.
 */
export const STAGE_PAGES = 16;
/** The same in bytes. */
export const SHORT_RUNS_BYTES: number = STAGE_PAGES * PAGE_SIZE;
/** Bytes of the segment that a worker builds. */
export const STAGING_BYTES: number = SEGMENT_BYTES_MAX;

/**
 * Reservations of one worker (mmu/physical/reservation.ts): the byte of the bank's memory at which
 * each begins, or -1 if the bank had none left.
 */
export interface StagingReservations {
  /** STAGING_BYTES bytes in the first bank. */
  readonly segment: number;
  /** SHORT_RUNS_BYTES bytes in each bank, by bank. */
  readonly shortRuns: readonly number[];
}
