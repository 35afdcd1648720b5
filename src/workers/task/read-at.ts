/**
 * Reads from a source at an offset. A read gets exactly the bytes that it asks for, or it fails.
 */
import { readSync } from 'node:fs';
import { assert } from '../../shared/assert.ts';
import { imageOfChain, type SourceReach } from '../../shared/dump/tasks/source-reach.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { hex } from '../../shared/page.ts';

/** A source as one worker sees it. */
export class Reader {
  readonly #source: SourceReach;
  readonly #chunks: readonly Uint8Array[];
  /** Of a chain: a reader for each of its images. */
  readonly #images: readonly Reader[];

  constructor(source: SourceReach) {
    this.#source = source;
    this.#images = source.kind === 'chain' ? source.images.map((image) => new Reader(image)) : [];
    this.#chunks = source.kind === 'memory' ? source.image.chunks : [];
  }

  get name(): string {
    return this.#source.name;
  }

  /**
   * Fills into[at, at + length) from byte `offset` of the source on. Throws INPUT_FAILED, or
   * PROCESS_GONE if the source is the memory of a process.
   */
  read(into: Uint8Array, at: number, length: number, offset: number): void {
    const source = this.#source;
    if (source.kind === 'chain') {
      this.#readChain(source.starts, into, at, length, offset);
      return;
    }
    if (source.kind === 'parts') {
      this.#readParts(source.fds, source.partBytes, into, at, length, offset);
      return;
    }
    if (source.kind !== 'memory') {
      this.#readFile(source.fd, into, at, length, offset);
      return;
    }
    const { chunkBytes } = source.image;
    for (let done = 0; done < length; ) {
      const from = (offset + done) % chunkBytes;
      const count = Math.min(length - done, chunkBytes - from);
      const chunk = this.#chunks[Math.floor((offset + done) / chunkBytes)];
      if (chunk === undefined || chunk.length < from + count) {
        throw this.#failure(offset + done, 'it ends there', 'EIO');
      }
      into.set(chunk.subarray(from, from + count), at + done);
      done += count;
    }
  }

  /**
   * Fills into[0, length) from byte `offset` of a file on, and with zeros after the end of the
   * file. Throws INPUT_FAILED. Precondition: the source is a file.
   */
  readToEnd(into: Uint8Array, length: number, offset: number): void {
    const source = this.#source;
    assert(source.kind === 'file', 'only a file has an end');
    for (let done = 0; done < length; ) {
      const count = this.#readSome(source.fd, into, done, length - done, offset + done);
      if (count === 0) {
        into.fill(0, done, length);
        return;
      }
      done += count;
    }
  }

  /** What is wanted lies in one image of the chain, since a payload does. */
  #readChain(
    starts: readonly number[],
    into: Uint8Array,
    at: number,
    length: number,
    offset: number,
  ): void {
    const image = imageOfChain(starts, offset);
    this.#images[image]!.read(into, at, length, offset - starts[image]!);
  }

  /** The name of the image that holds byte `offset`, and the place of the byte in it. */
  placeOf(offset: number): { readonly name: string; readonly offset: number } {
    const source = this.#source;
    if (source.kind !== 'chain') return { name: this.name, offset };
    const image = imageOfChain(source.starts, offset);
    return { name: source.images[image]!.name, offset: offset - source.starts[image]! };
  }

  #readParts(
    fds: readonly number[],
    partBytes: number,
    into: Uint8Array,
    at: number,
    length: number,
    offset: number,
  ): void {
    for (let done = 0; done < length; ) {
      const from = (offset + done) % partBytes;
      const count = Math.min(length - done, partBytes - from);
      const fd = fds[Math.floor((offset + done) / partBytes)];
      if (fd === undefined) throw this.#failure(offset + done, 'it ends there', 'EIO');
      this.#readFile(fd, into, at + done, count, from, offset + done);
      done += count;
    }
  }

  /** Reads from one file. `place`: offset of the bytes in the source, for messages. */
  #readFile(
    fd: number,
    into: Uint8Array,
    at: number,
    length: number,
    offset: number,
    place: number = offset,
  ): void {
    for (let done = 0; done < length; ) {
      const next = place + done;
      const count = this.#readSome(fd, into, at + done, length - done, offset + done, next);
      if (count === 0) throw this.#failure(next, 'it ends there', 'EIO');
      done += count;
    }
  }

  #readSome(
    fd: number,
    into: Uint8Array,
    at: number,
    length: number,
    offset: number,
    place: number = offset,
  ): number {
    try {
      return readSync(fd, into, at, length, offset);
    } catch (error) {
      throw this.#failure(place, reasonOf(error), errnoOf(error) ?? 'EIO');
    }
  }

  #failure(offset: number, reason: string, errno: string): MmdumpError {
    if (this.#source.kind === 'process') {
      const { pid } = this.#source;
      const text = `${this.name}: its memory at ${hex(offset)} cannot be read any more: ${reason}`;
      return new MmdumpError('PROCESS_GONE', text, { pid, address: offset, reason, errno });
    }
    const message = `${this.name}: read at byte ${offset} failed: ${reason}`;
    return new MmdumpError('INPUT_FAILED', message, { offset, reason, errno });
  }
}
