/**
 * Where a unit's part of the image is cut into segments, for a sink that takes it piece by piece: a
 * piece (a record, the pages behind it) is never cut, and a segment ends with the piece that fills it.
 * Who counts segments and who fills them ask the same rule.
 */
import { GRANULE_SIZE, MiB } from '../page.ts';

/** Large enough to be worth a write or a slot, small enough to stay in the cache and to be shared. */
const SEGMENT_BYTES = MiB;
/** Bytes of records that are copied as they are go in pieces of at most this. */
export const RAW_PIECE = 0x1_0000;
/** The longest segment: one that lacks a word to its end, then a block of a whole granule. */
export const SEGMENT_BYTES_MAX: number = SEGMENT_BYTES + GRANULE_SIZE + RAW_PIECE;

export class SegmentCut {
  #bytes = 0;

  /** A piece was added; true: the segment ends with it. */
  place(bytes: number): boolean {
    this.#bytes += bytes;
    if (this.#bytes < SEGMENT_BYTES) return false;
    this.#bytes = 0;
    return true;
  }

  /** The unit ends; true: so does a segment that is not empty. */
  end(): boolean {
    const isOpen = this.#bytes > 0;
    this.#bytes = 0;
    return isOpen;
  }
}
