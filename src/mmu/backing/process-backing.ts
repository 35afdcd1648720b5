/** Pages in the memory of a stopped process. The place of a page is its number in that process. */
import { readSync } from 'node:fs';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { addressOf, hex, PAGE_SIZE } from '../../shared/page.ts';
import type { BackingReader, OpenBacking } from './backing-reader.ts';

export class ProcessBacking implements BackingReader {
  readonly #backing: OpenBacking;

  constructor(backing: OpenBacking) {
    this.#backing = backing;
  }

  /** Throws PROCESS_GONE if the pages cannot be read: which page, and why. */
  read(place: number, pages: number, into: Uint8Array, at: number): void {
    const length = pages * PAGE_SIZE;
    const position = addressOf(place);
    this.#assertOpen(position);
    for (let done = 0; done < length; ) {
      const count = this.#readSome(into, at + done, length - done, position + done);
      this.#assertOpen(position + done);
      if (count === 0) throw this.#failure(position + done, 'it has no memory any more');
      done += count;
    }
  }

  #assertOpen(position: number): void {
    if (!this.#backing.isOpen()) throw this.#failure(position, 'it was released');
  }

  #readSome(into: Uint8Array, at: number, length: number, position: number): number {
    try {
      return readSync(this.#backing.fd, into, at, length, position);
    } catch (error) {
      throw this.#failure(position, reasonOf(error), errnoOf(error) ?? 'EIO');
    }
  }

  #failure(position: number, reason: string, errno = 'EIO'): MmdumpError {
    const address = position - (position % PAGE_SIZE);
    const { pid } = this.#backing;
    const text = `process ${pid}: its page at ${hex(address)} cannot be read: ${reason}`;
    return new MmdumpError('PROCESS_GONE', text, { pid, address, reason, errno });
  }
}
