/**
 * The image as the copy phase sees it: pieces, gathered in segments.
 *
 * A piece is one record of the image and the pages behind it: HEAD_BYTES from the arena (the record
 * with all its fields, crcs zero, and whatever payload is not pages), then PAGES frames. Workers
 * know no format: they copy, and fill in the crcs where the piece says they stand.
 *
 * A segment is a range of pieces, its bytes of the image a contiguous range: what a worker claims.
 */
import { readU64, writeU64 } from '../u64.ts';

export const PIECE = {
  ARENA_AT: 0, //      bytes; multiple of 8
  HEAD_BYTES: 1, //    multiple of 8
  SOURCE: 2, //        index of its first frame in SOURCES
  PAGES: 3, //         frames that follow the head
  RECORD_BYTES: 4, //  bytes of the head that record_crc covers
  RECORD_CRC: 5, //    byte offset of record_crc in the head, 0 = none
  PAYLOAD_CRC: 6, //   byte offset of payload_crc over the frames, 0 = none
  WORDS: 8,
} as const;

export const SEGMENT = {
  OFFSET: 0, //      bytes from the start of the image, u64
  BYTES: 2, //       below 2^31
  FIRST_PIECE: 3,
  PIECES: 4,
  WORDS: 8,
} as const;

const { OFFSET, BYTES, FIRST_PIECE, PIECES, WORDS } = SEGMENT;

export function pieceTableBytes(pieces: number): number {
  return pieces * PIECE.WORDS * 4;
}

export function segmentTableBytes(segments: number): number {
  return segments * WORDS * 4;
}

export class Segments {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  set(segment: number, offset: number, bytes: number, firstPiece: number, pieces: number): void {
    const at = segment * WORDS;
    writeU64(this.#words, at + OFFSET, offset);
    this.#words[at + BYTES] = bytes;
    this.#words[at + FIRST_PIECE] = firstPiece;
    this.#words[at + PIECES] = pieces;
  }

  offset(segment: number): number {
    return readU64(this.#words, segment * WORDS + OFFSET);
  }

  bytes(segment: number): number {
    return this.#words[segment * WORDS + BYTES]!;
  }

  firstPiece(segment: number): number {
    return this.#words[segment * WORDS + FIRST_PIECE]!;
  }

  pieces(segment: number): number {
    return this.#words[segment * WORDS + PIECES]!;
  }
}
