/** The task of the search phase, its tables, and its report. */
import type { MachineHandle } from '../../machine-handle.ts';
import type { FerryReach } from '../ferry.ts';
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
  PIECE: 0, //     the piece that holds its first byte
  SKIP: 1, //      bytes of that piece before it
  STARTS: 2, //    bytes at which a match may begin
  BYTES: 3, //     bytes to search: the same, and the rest of a match that begins at the last of them
  MM: 4, //        ordinal of the mm
  ADDRESS: 5, //   address of the first byte
  CONTINUES: 6, // 1 if its first address follows the last one of the unit before it; else 0
  WORDS: 7,
} as const;

/**
 * The words that a search for an expression keeps for each unit; a word is a number of 64 bits here.
 * The worker that has claimed the unit writes them, and others read them after the phase.
 */
export const SEARCH_STATE = {
  SKIPPED: 0, // bytes at its beginning that a match of an earlier unit covers
  COUNT: 1, //   matches that begin in it
  REACH: 2, //   bytes behind its last address that its last match covers
  WORDS: 3,
} as const;

/** An expression over bytes: each byte is the character with its number (latin1). */
export interface SearchExpression {
  readonly source: string;
  /** 'i', 's', both or none. */
  readonly flags: string;
  /** Most bytes of a match. */
  readonly most: number;
}

/** What a search looks for: bytes, or an expression. */
export type SearchPattern =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'expression';
      readonly expression: SearchExpression;
      /** The words of SEARCH_STATE. */
      readonly states: SharedArrayBuffer;
      /**
       * - 'count': counts the matches of each unit that is claimed.
       * - 'settle': corrects units whose beginning a match of the unit before covers. There is one
       *   claim, for all units.
       * - 'list': lists the matches of the units in `units`.
       */
      readonly step: 'count' | 'settle' | 'list';
      readonly units: readonly number[];
    };

/** Pages of an image. */
export interface SearchedImage {
  readonly source: SourceReach;
  /** The words of SEARCH_PIECE. */
  readonly pieces: SharedArrayBuffer;
}

/** Mms of a frozen machine. Units have no pieces: their bytes are those of their addresses. */
export interface SearchedSpaces {
  readonly machine: MachineHandle;
  /** The slots of the mms, by their ordinal. */
  readonly slots: readonly number[];
  /** Only mappings with these VM_* bits are searched. */
  readonly flags: number;
  /** The worker's own: see PassTask. */
  readonly ferry: FerryReach | undefined;
  /** Pages of the longest unit, from the granule on in which it begins. */
  readonly unitPages: number;
}

/** The task of the search phase. */
export interface SearchTask extends PhaseTask {
  /** Where the pages are. */
  readonly image: SearchedImage | undefined;
  readonly spaces: SearchedSpaces | undefined;
  /** The words of SEARCH_UNIT. */
  readonly units: SharedArrayBuffer;
  readonly unitCount: number;
  /** Bytes of the longest unit. */
  readonly unitBytes: number;
  readonly pattern: SearchPattern;
  /** Most matches that are listed. */
  readonly most: number;
}

/** What a worker reports. */
export interface SearchReport extends PhaseReport {
  /** Mm, address and length, in turn: the first matches of this worker, ascending. */
  readonly matches: Float64Array;
  /** All matches that it has found. */
  readonly count: number;
}
