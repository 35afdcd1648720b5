/**
 * Where a unit's part of the image is cut into segments, for an output that takes it in pieces. A
 * piece is a record with the pages behind it, and is never cut: a segment ends after the piece that
 * fills it. The worker that counts segments and the worker that fills them apply the same rule.
 */
import { GRANULE_SIZE, MiB } from '../page.ts';

/**
 * Large enough to be worth a write or a slot, and small enough for the cache and for many workers.
 */
const SEGMENT_BYTES = MiB;
/** Records that are copied unchanged go in pieces of at most this many bytes. */
export const RAW_PIECE = 0x1_0000;
/**
 * Bytes of the longest segment: it was almost full, and then a block of a whole granule was added.
 * A PAGES record is shorter than RAW_PIECE.
 */
export const SEGMENT_BYTES_MAX: number = SEGMENT_BYTES + GRANULE_SIZE + RAW_PIECE;

/** The rule. One object serves one unit after the other. */
export class SegmentCut {
  #bytes = 0;

  /** Adds a piece of `bytes`. Returns true if the segment ends with it. */
  place(bytes: number): boolean {
    this.#bytes += bytes;
    if (this.#bytes < SEGMENT_BYTES) return false;
    this.#bytes = 0;
    return true;
  }

  /** Ends the unit. Returns true if this ends a segment, that is, if one has been begun. */
  end(): boolean {
    const isOpen = this.#bytes > 0;
    this.#bytes = 0;
    return isOpen;
  }
}
