/** The second walk over a unit of a dump that becomes an ELF core file: it writes the pages. */
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf } from '../../shared/dump/run-table.ts';
import { RAW_PIECE } from '../../shared/dump/segment-cut.ts';
import { isInCore } from '../../shared/formats/elf/core-pages.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { PageMover } from '../copy/page-mover.ts';
import type { ImageOutput } from '../output/image-output.ts';
import type { Writer } from './sizer.ts';

/**
 * Pages in one piece from which on a file is written from where they lie. A shorter piece is
 * quicker to copy than to write in a call of its own.
 */
const WRITTEN_IN_PLACE = 64;

/** Writes one unit after the other. */
export class CoreWriter implements Writer {
  copied = 0;
  readonly #out: ImageOutput;
  readonly #mover: PageMover;

  constructor(out: ImageOutput, mover: PageMover) {
    this.#out = out;
    this.#mover = mover;
  }

  begin(): void {
    this.copied = 0;
  }

  raw(words: Int32Array, at: number, bytes: number): void {
    for (let done = 0; done < bytes; ) {
      const count = Math.min(RAW_PIECE, bytes - done);
      this.#out.room();
      const { window, at: to } = this.#out;
      const from = (at + done) >> 2;
      window.words.set(words.subarray(from, from + (count >> 2)), to >> 2);
      this.#out.advance(count);
      done += count;
    }
  }

  vma(): void {}

  run(_vma: number, _start: number, count: number, word: number, source: number): void {
    if (!isInCore(word)) return;
    const isCopied = classOf(word) === PAGE_CLASS.COPY;
    if (isCopied) {
      this.copied += count;
      if (this.#writeInPlace(count, source)) return;
    }
    const bytes = count * PAGE_SIZE;
    this.#out.room();
    const { window, at } = this.#out;
    if (isCopied) {
      this.#mover.move(source, count, window, at);
    } else {
      window.bytes.fill(0, at, at + bytes); // a sparse file keeps a hole there
    }
    this.#out.advance(bytes);
  }

  /** Writes pages that lie in one piece without copying them. Returns whether it did. */
  #writeInPlace(count: number, source: number): boolean {
    if (count < WRITTEN_IN_PLACE || !this.#out.isFile) return false;
    const bytes = this.#mover.whole(source, count);
    if (bytes === undefined) return false;
    this.#out.writeThrough(bytes);
    return true;
  }
}
