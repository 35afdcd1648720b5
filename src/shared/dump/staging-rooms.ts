/** Where a worker gathers pages before they go where they belong, in the memory of the banks. */
import { PAGE_SIZE } from '../page.ts';
import { SEGMENT_BYTES_MAX } from './segment-cut.ts';

/** Short runs that are staged at once: they stay in the first cache beside what comes in. */
export const STAGE_PAGES = 16;
export const SHORT_RUNS_BYTES: number = STAGE_PAGES * PAGE_SIZE;
/** Of the segment that a worker builds. */
export const STAGING_BYTES: number = SEGMENT_BYTES_MAX;

/** Rooms of one worker (mmu/physical/room.ts): their first bytes, or -1 where there is none. */
export interface StagingRooms {
  /** STAGING_BYTES in the first bank. */
  readonly segment: number;
  /** By bank, SHORT_RUNS_BYTES each. */
  readonly shortRuns: readonly number[];
}
