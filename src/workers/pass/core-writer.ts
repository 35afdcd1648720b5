/** The second walk over a unit of a dump that becomes an ELF core file: it writes the pages. */
import { PAGE_CLASS } from '../../shared/dump/page-class.ts';
import { classOf } from '../../shared/dump/run-table.ts';
import { RAW_PIECE } from '../../shared/dump/segment-cut.ts';
import { isInCore } from '../../shared/formats/elf/core-pages.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { PageMover } from '../copy/page-mover.ts';
import type { ImageOutput } from '../output/image-output.ts';
import type { Writer } from './sizer.ts';

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
    const bytes = count * PAGE_SIZE;
    this.#out.room();
    const { window, at } = this.#out;
    if (classOf(word) === PAGE_CLASS.COPY) {
      this.#mover.move(source, count, window, at);
      this.copied += count;
    } else {
      window.bytes.fill(0, at, at + bytes); // a sparse file keeps a hole there
    }
    this.#out.advance(bytes);
  }
}
