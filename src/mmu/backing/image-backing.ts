/**
 * Pages in an image. A digest covers a block, so a whole block is read and checked even if one page
 * of it is wanted. A thread that wants a second page of the same block reads it once more and keeps
 * it: the neighbours are then copied from memory. The first time a large block only passes through a
 * window, which stays in the core's own cache and takes little memory.
 */
import { readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import {
  DIGEST,
  type Digest,
  type DigestKind,
  isSameDigest,
  mismatchText,
} from '../../shared/digest/digest-kind.ts';
import { type DigestKernels, DigestState, digestKernels } from '../../shared/digest/xxh3.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { addressOf, GRANULE_SIZE, hex, KiB, PAGE_SIZE } from '../../shared/page.ts';
import { Memory, Module, WASM_PAGE, type WasmMemory } from '../../shared/wasm.ts';
import { packedRoom, unpackBlock } from '../../shared/zstd.ts';
import type { BackingReader, OpenBacking } from './backing-reader.ts';
import type { ImageTable } from './image-table.ts';

/** Bytes of the window. */
const WINDOW = 128 * KiB;

/** The block that this thread has read and checked last, in memory that the kernel reaches. */
class LastBlock {
  readonly bytes: Uint8Array;
  readonly #memory: WasmMemory;
  #kernels: DigestKernels | undefined;
  /** Key of the backing, and the row of the block in its table; -1 = no block. */
  key = '';
  row = -1;
  /** The block that has passed through the window last, in the same way. */
  passedKey = '';
  passedRow = -1;

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

  /** The digest of the first `length` bytes. */
  digestOf(kind: DigestKind, length: number): Digest {
    if (kind !== DIGEST.XXH3) {
      return { digest: kind, low: crc32(this.bytes.subarray(0, length)), high: 0 };
    }
    const low = this.#kernels!.digest(0, length);
    return { digest: kind, low, high: this.#kernels!.high() };
  }

  /** Begins the digest of a payload in parts, each of which is put into the window. */
  begin(kind: DigestKind): void {
    if (kind === DIGEST.XXH3) this.#kernels!.begin();
  }

  /** Takes a part of the payload. Returns the digest after the last one. `before`: what it returned. */
  take(before: Digest, length: number, isLast: boolean): Digest {
    const { digest } = before;
    if (digest !== DIGEST.XXH3) {
      return { digest, low: crc32(this.bytes.subarray(0, length), before.low), high: 0 };
    }
    if (!isLast) {
      this.#kernels!.update(0, length);
      return before;
    }
    const low = this.#kernels!.finish(0, length);
    return { digest, low, high: this.#kernels!.high() };
  }
}

let last: LastBlock | undefined;

export class ImageBacking implements BackingReader {
  readonly #backing: OpenBacking;
  readonly #table: ImageTable;
  /** Name of the image that the pages belong to. */
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
   * Throws IMAGE_CHECKSUM if a block does not have its digest any more, IMAGE_CORRUPT if it cannot be
   * decompressed, IMAGE_TRUNCATED if the file
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
    if (this.#table.digest(row) === DIGEST.NONE && this.#table.packed(row) === 0) {
      this.#readFiles(row, skip * PAGE_SIZE, into, at, count * PAGE_SIZE);
      this.#assertOpen();
      return;
    }
    const from = skip * PAGE_SIZE;
    if (this.#passes(row, count)) this.#passThrough(row, from, count * PAGE_SIZE, into, at);
    else into.set(this.#checked(row).subarray(from, from + count * PAGE_SIZE), at);
  }

  /** Whether a block only passes through the window: it is large, and a small part is wanted. */
  #passes(row: number, count: number): boolean {
    const block = this.#last;
    const { key } = this.#backing;
    const isLarge = this.#table.pages(row) * PAGE_SIZE > WINDOW;
    if (!isLarge || count * PAGE_SIZE > WINDOW || this.#table.packed(row) > 0) return false;
    const isHeld = block.row === row && block.key === key;
    if (isHeld || (block.passedRow === row && block.passedKey === key)) return false;
    block.passedRow = row;
    block.passedKey = key;
    return true;
  }

  /** Checks a block part by part, and copies bytes [from, from + length) of it to `into`. */
  #passThrough(row: number, from: number, length: number, into: Uint8Array, at: number): void {
    const block = this.#last;
    const kind = this.#table.digest(row);
    const bytes = this.#table.pages(row) * PAGE_SIZE;
    block.row = -1; // the window is a part of its memory
    block.begin(kind);
    let found: Digest = { digest: kind, low: 0, high: 0 };
    for (let done = 0; done < bytes; done += WINDOW) {
      const count = Math.min(WINDOW, bytes - done);
      this.#readFiles(row, done, block.bytes, 0, count);
      found = block.take(found, count, done + count === bytes);
      const first = Math.max(from, done);
      const end = Math.min(from + length, done + count);
      if (first < end) into.set(block.bytes.subarray(first - done, end - done), at + first - from);
    }
    this.#assertOpen();
    this.#check(row, found);
  }

  /** The pages of a block, once they were checked. */
  #checked(row: number): Uint8Array {
    const block = this.#last;
    const { key } = this.#backing;
    if (block.row === row && block.key === key) return block.bytes;
    block.row = -1;
    const length = this.#readBlock(row, block.bytes);
    this.#assertOpen();
    const kind = this.#table.digest(row);
    if (kind !== DIGEST.NONE) this.#check(row, block.digestOf(kind, length));
    block.key = key;
    block.row = row;
    return block.bytes;
  }

  /** Reads all pages of a block, and returns how many bytes they are. */
  #readBlock(row: number, into: Uint8Array): number {
    const table = this.#table;
    const length = table.pages(row) * PAGE_SIZE;
    const packed = table.packed(row);
    if (packed === 0) {
      this.#readFiles(row, 0, into, 0, length);
      return length;
    }
    const frame = new Uint8Array(packedRoom(packed));
    this.#readFiles(row, 0, frame, 0, frame.length);
    const offset = table.offset(row);
    const name = this.#nameOf(row); // the numbers above are right
    const reason = unpackBlock(frame, packed, into.subarray(0, length), name);
    if (reason === null) return length;
    const text = `${name}: payload at byte ${offset}: ${reason}`;
    throw new MmdumpError('IMAGE_CORRUPT', text, { offset, reason });
  }

  #check(row: number, found: Digest): void {
    const table = this.#table;
    const stored = { digest: table.digest(row), low: table.low(row), high: table.high(row) };
    this.#assertOpen();
    if (isSameDigest(stored, found)) return;
    const address = addressOf(table.start(row));
    const length = table.pages(row) * PAGE_SIZE;
    const offset = table.offset(row);
    const mm = table.mm(row);
    const range = `${hex(address)}-${hex(address + length)}`;
    const name = this.#nameOf(row);
    throw new MmdumpError(
      'IMAGE_CHECKSUM',
      `${name}: mm ${mm}, pages ${range}, payload at byte ${offset}: ` +
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
      let count: number;
      try {
        count = readSync(fd, into, at + done, wanted, from);
      } catch (error) {
        throw this.#unreadable(row, place, error);
      }
      if (count === 0) throw this.#truncated(row, place);
      done += count;
    }
  }

  #unreadable(row: number, offset: number, error: unknown): MmdumpError {
    const fields = { offset, errno: errnoOf(error) ?? 'EIO', reason: reasonOf(error) };
    const message = `${this.#nameOf(row)}: read at byte ${offset} failed: ${fields.reason}`;
    return new MmdumpError('INPUT_FAILED', message, fields, error);
  }

  #truncated(row: number, offset: number): MmdumpError {
    const name = this.#nameOf(row);
    const message = `${name} was truncated: it ends before byte ${offset}, where pages lie`;
    return new MmdumpError('IMAGE_TRUNCATED', message, { offset });
  }

  /** Name of the image that stores a block. Throws INPUT_FAILED if the backing was released. */
  #nameOf(row: number): string {
    const name = this.#table.name(row);
    this.#assertOpen();
    return name;
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
