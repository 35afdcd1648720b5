/**
 * What a format gives the engine: the image as pieces in segments, with every byte of every record
 * encoded, except the crcs that cover pages.
 */

import type { Mm } from '../../mmu/mm.ts';
import type { MmAddresses } from '../../mmu/mm-struct.ts';
import {
  PIECE,
  pieceTableBytes,
  Segments,
  segmentTableBytes,
} from '../../shared/dump/piece-table.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import { MiB, PAGE_SIZE } from '../../shared/page.ts';
import { highWord, lowWord } from '../../shared/u64.ts';
import type { SharedBuffers } from '../dump/shared-buffers.ts';
import type { MmTally, UnitRange } from '../dump/tally.ts';
import type { Turns } from '../stop.ts';

/** One mm, ready to be laid out. */
export interface LayoutMm {
  readonly mm: Mm;
  readonly addresses: MmAddresses;
  readonly ldt: Uint8Array;
  readonly auxv: Uint8Array;
  readonly notes: Uint8Array;
  readonly tally: MmTally;
  readonly units: UnitRange;
}

export interface LayoutInput {
  readonly mms: readonly LayoutMm[];
  readonly units: WorkUnits;
  readonly runs: Int32Array;
  readonly buffers: SharedBuffers;
  readonly frozen: boolean;
  /** crc32 over the pages of every block. */
  readonly payloadCrc: boolean;
  /** One block a page instead of one a run. */
  readonly blockPerPage: boolean;
  /** Mappings with VM_DONTDUMP were left out. */
  readonly dontDump: boolean;
  /** Honoured in every loop over mappings or runs. */
  readonly turns: Turns;
}

export interface Layout {
  readonly bytes: number;
  readonly segments: SharedArrayBuffer;
  readonly segmentCount: number;
  readonly maxSegmentBytes: number;
  readonly pieces: SharedArrayBuffer;
  readonly pieceCount: number;
  readonly arena: SharedArrayBuffer;
  readonly recordCrcs: SharedArrayBuffer;
}

/** Bytes after which a segment ends: large enough to be worth claiming, small enough to share. */
const SEGMENT_BYTES = MiB;

const { ARENA_AT, HEAD_BYTES, SOURCE, PAGES, RECORD_BYTES, RECORD_CRC, PAYLOAD_CRC } = PIECE;

/** Where the crcs of a record stand. */
export interface RecordShape {
  readonly recordBytes: number;
  readonly recordCrc: number;
  readonly payloadCrc: number;
}

/** Collects records and pieces in the order of the stream and gives each its offset. */
export class LayoutBuilder {
  readonly arena: SharedArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #pieces: SharedArrayBuffer;
  readonly #pieceWords: Int32Array;
  readonly #buffers: SharedBuffers;
  readonly #cuts: { readonly offset: number; readonly piece: number }[] = [];
  #arenaAt = 0;
  #pieceCount = 0;
  #segmentStart = 0;
  /** Bytes of the image so far: the offset of the next piece. */
  offset = 0;

  /** For at most `pieces` pieces whose records fill at most `arenaBytes`. */
  constructor(buffers: SharedBuffers, pieces: number, arenaBytes: number) {
    this.#buffers = buffers;
    this.arena = buffers.take('arena', arenaBytes);
    this.view = new DataView(this.arena);
    this.bytes = new Uint8Array(this.arena);
    this.#words = new Int32Array(this.arena);
    this.#pieces = buffers.take('pieces', pieceTableBytes(pieces));
    this.#pieceWords = new Int32Array(this.#pieces);
  }

  /** Room for a record of `bytes` (a multiple of 8), zeroed; returns its place in the arena. */
  record(bytes: number): number {
    const at = this.#arenaAt;
    for (let word = at >> 2; word < (at + bytes) >> 2; word++) this.#words[word] = 0;
    this.#arenaAt += bytes;
    return at;
  }

  /** `at`: a multiple of 4. */
  setU32(at: number, value: number): void {
    this.#words[at >> 2] = value;
  }

  setU64(at: number, value: number): void {
    this.#words[at >> 2] = lowWord(value);
    this.#words[(at >> 2) + 1] = highWord(value);
  }

  /** Adds a piece: `headBytes` of the arena from `at` on, then `pages` frames from `source` on. */
  piece(at: number, headBytes: number, shape: RecordShape, source = 0, pages = 0): void {
    const words = this.#pieceWords;
    const piece = this.#pieceCount * PIECE.WORDS;
    words[piece + ARENA_AT] = at;
    words[piece + HEAD_BYTES] = headBytes;
    words[piece + SOURCE] = source;
    words[piece + PAGES] = pages;
    words[piece + RECORD_BYTES] = shape.recordBytes;
    words[piece + RECORD_CRC] = shape.recordCrc;
    words[piece + PAYLOAD_CRC] = pages > 0 ? shape.payloadCrc : 0;
    this.#pieceCount++;
    this.offset += headBytes + pages * PAGE_SIZE;
    if (this.offset - this.#segmentStart >= SEGMENT_BYTES) this.#cut();
  }

  #cut(): void {
    this.#cuts.push({ offset: this.#segmentStart, piece: this.#pieceCount });
    this.#segmentStart = this.offset;
  }

  finish(): Layout {
    if (this.offset > this.#segmentStart) this.#cut();
    const count = this.#cuts.length;
    const buffer = this.#buffers.take('segments', segmentTableBytes(count));
    const segments = new Segments(buffer);
    let maxSegmentBytes = 0;
    let firstPiece = 0;
    for (let index = 0; index < count; index++) {
      const { offset, piece } = this.#cuts[index]!;
      const end = this.#cuts[index + 1]?.offset ?? this.offset;
      segments.set(index, offset, end - offset, firstPiece, piece - firstPiece);
      maxSegmentBytes = Math.max(maxSegmentBytes, end - offset);
      firstPiece = piece;
    }
    return {
      bytes: this.offset,
      segments: buffer,
      segmentCount: count,
      maxSegmentBytes,
      pieces: this.#pieces,
      pieceCount: this.#pieceCount,
      arena: this.arena,
      recordCrcs: this.#buffers.take('recordCrcs', this.#pieceCount * 4),
    };
  }
}
