/**
 * Pages in an image. A digest covers a block, so a whole block is read and checked even if one page
 * of it is wanted. The thread keeps the last one: its neighbours are then copied from memory.
 */
import { readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import {
  DIGEST,
  type Digest,
  isSameDigest,
  mismatchText,
} from '../../shared/digest/digest-kind.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { addressOf, GRANULE_SIZE, hex, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, Module, WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';
import type { BackingReader, OpenBacking } from './backing-reader.ts';
import type { ImageTable } from './image-table.ts';

/** The block that this thread has read and checked last, in memory that the kernel reaches. */
class LastBlock {
  readonly bytes: Uint8Array;
  readonly #memory: WasmMemory;
  #kernels: DigestKernels | undefined;
  /** Key of the backing, and the row of the block in its table; -1 = no block. */
  key = '';
  row = -1;

  constructor() {
    const pages = GRANULE_SIZE / WASM_PAGE;
    this.#memory = new Memory({ initial: pages, maximum: pages, shared: true });
    this.bytes = new Uint8Array(this.#memory.buffer);
  }

  /** Compiles the kernel that came with a table, unless that was done before. */
  prepare(table: ImageTable): void {
    if (this.#kernels !== undefined || !table.hasKernel) return;
    const module = new Module(table.kernel());
    this.#kernels = digestKernels(module, this.#memory, this.#memory, new DigestState());
  }

  /** XXH3 of the first `length` bytes. */
  xxh3(length: number): Digest {
    const low = this.#kernels!.digest(0, length);
    return { digest: DIGEST.XXH3, low, high: this.#kernels!.high() };
  }
}

let last: LastBlock | undefined;

export class ImageBacking implements BackingReader {
  readonly #backing: OpenBacking;
  readonly #table: ImageTable;
  readonly #name: string;
  readonly #last: LastBlock;

  constructor(backing: OpenBacking, table: ImageTable) {
    this.#backing = backing;
    this.#table = table;
    this.#name = table.name();
    last ??= new LastBlock();
    this.#last = last;
    last.prepare(table);
  }

  /**
   * Throws IMAGE_CHECKSUM if a block does not have its digest any more, IMAGE_TRUNCATED if the file
   * has become shorter, and INPUT_FAILED if it cannot be read or the backing was released.
   */
  read(place: number, pages: number, into: Uint8Array, at: number): void {
    const table = this.#table;
    for (let done = 0; done < pages; ) {
      this.#assertOpen();
      const row = table.find(place + done);
      if (row < 0) throw this.#released();
      const skip = place + done - table.first(row);
      const count = Math.min(pages - done, table.pages(row) - skip);
      this.#assertOpen(); // these numbers mean nothing otherwise
      this.#readPages(row, skip, count, into, at + done * PAGE_SIZE);
      done += count;
    }
  }

  /** Reads `count` pages of a block, from its page `skip` on. */
  #readPages(row: number, skip: number, count: number, into: Uint8Array, at: number): void {
    if (this.#table.digest(row) === DIGEST.NONE) {
      this.#readFiles(row, skip * PAGE_SIZE, into, at, count * PAGE_SIZE);
      this.#assertOpen();
      return;
    }
    const from = skip * PAGE_SIZE;
    into.set(this.#checked(row).subarray(from, from + count * PAGE_SIZE), at);
  }

  /** The pages of a block, once they were checked. */
  #checked(row: number): Uint8Array {
    const block = this.#last;
    const { key } = this.#backing;
    if (block.row === row && block.key === key) return block.bytes;
    block.row = -1;
    const length = this.#readBlock(row, block.bytes);
    this.#assertOpen();
    this.#check(row, block, length);
    block.key = key;
    block.row = row;
    return block.bytes;
  }

  /** Reads all pages of a block, and returns how many bytes they are. */
  #readBlock(row: number, into: Uint8Array): number {
    const length = this.#table.pages(row) * PAGE_SIZE;
    this.#readFiles(row, 0, into, 0, length);
    return length;
  }

  #check(row: number, block: LastBlock, length: number): void {
    const table = this.#table;
    const stored = { digest: table.digest(row), low: table.low(row), high: table.high(row) };
    const found =
      stored.digest === DIGEST.XXH3
        ? block.xxh3(length)
        : { digest: stored.digest, low: crc32(block.bytes.subarray(0, length)), high: 0 };
    this.#assertOpen();
    if (isSameDigest(stored, found)) return;
    const address = addressOf(table.start(row));
    const offset = table.offset(row);
    const mm = table.mm(row);
    const range = `${hex(address)}-${hex(address + length)}`;
    throw new MmdumpError(
      'IMAGE_CHECKSUM',
      `${this.#name}: mm ${mm}, pages ${range}, payload at byte ${offset}: ` +
        `${mismatchText(stored, found)}; the image has changed since it was opened`,
      { mm, address, offset },
    );
  }

  /** Reads bytes of the payload of a block, from byte `skip` of it on. They may lie in two parts. */
  #readFiles(row: number, skip: number, into: Uint8Array, at: number, length: number): void {
    const table = this.#table;
    const partBytes = table.partBytes(row);
    const offset = table.offset(row) + skip;
    for (let done = 0; done < length; ) {
      const place = offset + done;
      const part = partBytes === 0 ? 0 : Math.floor(place / partBytes);
      const from = place - part * partBytes;
      const room = partBytes === 0 ? length : partBytes - from;
      const wanted = Math.min(length - done, room);
      const fd = table.fd(table.firstFd(row) + part);
      const count = this.#readSome(fd, into, at + done, wanted, from, place);
      if (count === 0) throw this.#truncated(place);
      done += count;
    }
  }

  #readSome(
    fd: number,
    into: Uint8Array,
    at: number,
    length: number,
    from: number,
    place: number,
  ): number {
    try {
      return readSync(fd, into, at, length, from);
    } catch (error) {
      this.#assertOpen();
      const fields = { offset: place, errno: errnoOf(error) ?? 'EIO', reason: reasonOf(error) };
      const message = `${this.#name}: read at byte ${place} failed: ${fields.reason}`;
      throw new MmdumpError('INPUT_FAILED', message, fields, error);
    }
  }

  #truncated(offset: number): MmdumpError {
    this.#assertOpen();
    const message = `${this.#name} was truncated: it ends before byte ${offset}, where pages lie`;
    return new MmdumpError('IMAGE_TRUNCATED', message, { offset });
  }

  #assertOpen(): void {
    if (!this.#backing.isOpen()) throw this.#released();
  }

  #released(): MmdumpError {
    return releasedImage(this.#name);
  }
}

/** The error of a page that lies in an image which was released. */
export function releasedImage(name: string): MmdumpError {
  const reason = 'it was released before the page was loaded';
  return new MmdumpError('INPUT_FAILED', `${name} cannot be read: ${reason}`, { reason });
}
