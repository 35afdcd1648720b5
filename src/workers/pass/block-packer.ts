/**
 * Compresses the blocks of a unit before its size is published. The pages of a block are copied to
 * memory that only this worker writes, and digested there; so the frame and the digest belong to the
 * same bytes, even if somebody writes the pages meanwhile.
 */
import { PackedUnit } from '../../shared/dump/packed-unit.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { packBlock, packedRoom } from '../../shared/zstd.ts';
import type { ImageWindow } from '../copy/image-window.ts';
import type { PageMover } from '../copy/page-mover.ts';
import type { ParentDigests } from './parent-digests.ts';

/** Packs one unit after the other. */
export class BlockPacker {
  /** The blocks of the unit so far. Empty if they are only counted. */
  readonly unit: PackedUnit = new PackedUnit();
  readonly #mover: PageMover;
  readonly #window: ImageWindow;
  readonly #digests: ParentDigests | undefined;
  readonly #isCounting: boolean;

  /**
   * `window` has room for a block, and holds nothing between two units. With `isCounting` the
   * blocks are not kept.
   */
  constructor(
    mover: PageMover,
    window: ImageWindow,
    digests: ParentDigests | undefined,
    isCounting: boolean,
  ) {
    this.#mover = mover;
    this.#window = window;
    this.#digests = digests;
    this.#isCounting = isCounting;
  }

  begin(): void {
    this.unit.clear();
  }

  /**
   * Packs `count` pages from page `start` on, whose frames are in the list from `source` on.
   * Returns the length of their payload in the image.
   */
  add(start: number, count: number, source: number): number {
    const mover = this.#mover;
    const window = this.#window;
    const bytes = count * PAGE_SIZE;
    mover.move(source, count, window, 0);
    this.#digests?.stored(start, count, mover, window, 0);
    const pages = window.bytes.subarray(0, bytes);
    const frame = packBlock(pages);
    const isShorter = packedRoom(frame.length) < bytes;
    const stored = isShorter ? frame : pages;
    if (!this.#isCounting) this.unit.add(stored, mover.low, mover.high);
    return packedRoom(stored.length);
  }
}
