/** The task of the search phase, its tables, and its report. */
import type { PhaseReport, PhaseTask } from './phase-task.ts';
import type { SourceReach } from './source-reach.ts';

/** The words of a piece, neighbouring bytes of an mm. A word is a number of 64 bits here. */
export const SEARCH_PIECE = {
  PLACE: 0, //  first byte, among those of the chain, of a frame if PACKED; -1 if they are zeros
  BYTES: 1,
  PACKED: 2, // length of the frame that holds the block; 0 if it is not compressed
  WHOLE: 3, //  PACKED: bytes of the pages of the block
  FROM: 4, //   PACKED: byte of the pages of the block at which the piece begins
  WORDS: 5,
} as const;

/**
 * The words of a unit, addresses at which a match may begin. A word is a number of 64 bits here.
 * The bytes of a unit go on in the pieces that follow, also behind its last address.
 */
export const SEARCH_UNIT = {
  PIECE: 0, //   the piece that holds its first byte
  SKIP: 1, //    bytes of that piece before it
  STARTS: 2, //  bytes at which a match may begin
  BYTES: 3, //   bytes to search: the same, and the rest of a match that begins at the last of them
  MM: 4, //      ordinal of the mm
  ADDRESS: 5, // address of the first byte
  WORDS: 6,
} as const;

/** The task of the search phase. */
export interface SearchTask extends PhaseTask {
  readonly source: SourceReach;
  readonly pieces: SharedArrayBuffer;
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
  /** Bytes of the longest unit. */
  readonly unitBytes: number;
  readonly pattern: Uint8Array;
  /** Most matches that are listed. */
  readonly most: number;
}

/** What a worker reports. */
export interface SearchReport extends PhaseReport {
  /** Pairs of mm and address: the first matches of this worker, ascending. */
  readonly matches: Float64Array;
  /** All matches that it has found. */
  readonly count: number;
}
