/**
 * Backings of kind FILE: a window of a file whose pages may begin at any byte, as those of a core
 * file do. A place has 40 bits and holds two numbers:
 *
 *   39 …… 28                    | 27 …… 0
 *   byte of the file modulo 4096 | page, counted from the start of the window
 *
 * So one backing holds pages with all remainders. It spans almost 1 TiB; a longer file has several
 * backings, with windows that follow each other. The last page of a window is never used. Otherwise
 * the place after it, which has the next remainder, would look like that of its neighbour.
 */
import { MmdumpError } from '../../shared/errors.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { OpenBacking } from './backing-reader.ts';
import { DescriptorBacking } from './descriptor-backing.ts';

/** Pages that fit into the low bits of a place. */
const PAGES = 2 ** 28;
/** Pages of a window. */
export const WINDOW_PAGES: number = PAGES - 1;
const WINDOW_BYTES = WINDOW_PAGES * PAGE_SIZE;

/** The window in which the page at this byte of the file begins. */
export function windowOf(offset: number): number {
  return Math.floor(offset / WINDOW_BYTES);
}

/** The place, in its window, of the page at this byte of the file. */
export function filePlace(offset: number): number {
  const remainder = offset % PAGE_SIZE;
  return remainder * PAGES + Math.floor((offset % WINDOW_BYTES) / PAGE_SIZE);
}

/** The byte of the file at which the page at this place of a window begins. */
export function filePosition(place: number, window: number): number {
  const remainder = Math.floor(place / PAGES);
  return window * WINDOW_BYTES + (place % PAGES) * PAGE_SIZE + remainder;
}

/** Throws INPUT_FAILED if pages cannot be read: where, and why. */
export class FileBacking extends DescriptorBacking {
  protected readonly end = 'it ends there';
  readonly #window: number;

  constructor(backing: OpenBacking, window: number) {
    super(backing);
    this.#window = window;
  }

  protected positionOf(place: number): number {
    return filePosition(place, this.#window);
  }

  protected failure(offset: number, reason: string, errno: string): MmdumpError {
    const text = `the page at byte ${offset} of the file behind it cannot be read: ${reason}`;
    return new MmdumpError('INPUT_FAILED', text, { offset, reason, errno });
  }
}
