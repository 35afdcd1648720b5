/** What backings have in common whose pages are read from a file as they lie there. */
import { readSync } from 'node:fs';
import { errnoOf, type MmdumpError, reasonOf } from '../../shared/errors.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { BackingReader, OpenBacking } from './backing-reader.ts';

export abstract class DescriptorBacking implements BackingReader {
  protected readonly backing: OpenBacking;

  constructor(backing: OpenBacking) {
    this.backing = backing;
  }

  /** The byte of the file at which the page at this place begins. */
  protected abstract positionOf(place: number): number;

  /** The error of a page that cannot be read. */
  protected abstract failure(position: number, reason: string, errno: string): MmdumpError;

  /** Why no byte can be read at a position, although reading does not fail. */
  protected abstract readonly end: string;

  read(place: number, pages: number, into: Uint8Array, at: number): void {
    const length = pages * PAGE_SIZE;
    const position = this.positionOf(place);
    this.#assertOpen(position);
    for (let done = 0; done < length; ) {
      const count = this.#readSome(into, at + done, length - done, position + done);
      this.#assertOpen(position + done);
      if (count === 0) throw this.failure(position + done, this.end, 'EIO');
      done += count;
    }
  }

  #assertOpen(position: number): void {
    if (!this.backing.isOpen()) throw this.failure(position, 'it was released', 'EIO');
  }

  #readSome(into: Uint8Array, at: number, length: number, position: number): number {
    try {
      return readSync(this.backing.fd, into, at, length, position);
    } catch (error) {
      throw this.failure(position, reasonOf(error), errnoOf(error) ?? 'EIO');
    }
  }
}
