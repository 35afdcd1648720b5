/** The units of a search in an image. A unit is one stretch of known bytes, from several blocks. */
import {
  SEARCH_PIECE,
  SEARCH_UNIT,
  type SearchedImage,
} from '../../shared/dump/tasks/search-task.ts';
import { PackedBlocks } from '../task/packed-blocks.ts';
import { Reader } from '../task/read-at.ts';
import { Spans, type UnitBytes } from './unit-bytes.ts';

const { PLACE, BYTES, PACKED, WHOLE, FROM, WORDS } = SEARCH_PIECE;

export class ImageBytes implements UnitBytes {
  readonly buffer: Buffer;
  readonly known: Spans = new Spans();
  readonly stored: Spans = new Spans();
  readonly #reader: Reader;
  readonly #blocks: PackedBlocks;
  readonly #pieces: Float64Array;

  /** `unitBytes`: bytes of the longest unit. */
  constructor({ source, pieces }: SearchedImage, unitBytes: number) {
    this.#reader = new Reader(source);
    this.#blocks = new PackedBlocks(this.#reader);
    this.#pieces = new Float64Array(pieces);
    this.buffer = Buffer.allocUnsafeSlow(Math.max(1, unitBytes));
  }

  load(units: Float64Array, at: number): void {
    const bytes = units[at + SEARCH_UNIT.BYTES]!;
    let skip = units[at + SEARCH_UNIT.SKIP]!;
    this.known.clear();
    this.known.add(0, bytes);
    this.stored.clear();
    for (let piece = units[at + SEARCH_UNIT.PIECE]!, done = 0; done < bytes; piece++) {
      done += this.#loadPiece(piece * WORDS, skip, done, bytes - done);
      skip = 0;
    }
  }

  close(): void {}

  /** Loads up to `most` bytes of the piece at words[at], from byte `skip` of it on, to buffer[to]. */
  #loadPiece(at: number, skip: number, to: number, most: number): number {
    const pieces = this.#pieces;
    const { buffer } = this;
    const place = pieces[at + PLACE]!;
    const packed = pieces[at + PACKED]!;
    const count = Math.min(most, pieces[at + BYTES]! - skip);
    if (place < 0) {
      buffer.fill(0, to, to + count);
      return count;
    }
    this.stored.add(to, to + count);
    if (packed === 0) {
      this.#reader.read(buffer, to, count, place + skip);
      return count;
    }
    const from = pieces[at + FROM]! + skip;
    const pages = this.#blocks.pages(place, packed, pieces[at + WHOLE]!);
    buffer.set(pages.subarray(from, from + count), to);
    return count;
  }
}
