/** The verify phase: computes the digests of the payloads of an image. */

import { DIGEST } from '../shared/digest/digest-kind.ts';
import { PayloadDigest } from '../shared/digest/payload-digest.ts';
import { PayloadTable } from '../shared/dump/payload-table.ts';
import type { PhaseReport } from '../shared/dump/tasks/phase-task.ts';
import {
  imageOfChain,
  type SharedBytes,
  type SourceReach,
} from '../shared/dump/tasks/source-reach.ts';
import type { VerifyTask } from '../shared/dump/tasks/verify-task.ts';
import { MmdumpError, type Outcome } from '../shared/errors.ts';
import { KiB } from '../shared/page.ts';
import { PackedBlocks } from './task/packed-blocks.ts';
import { Reader } from './task/read-at.ts';
import { runUnits } from './task/run-units.ts';

/**
 * Bytes that are read before they are digested. A buffer larger than the core's own cache (512 KiB)
 * takes twice as long.
 */
const BUFFER_BYTES = 128 * KiB;
/** An XXH3 payload of at least this many bytes is read directly to where it is digested. */
const READ_IN_PLACE = 64 * KiB;

/** The bytes of an image, as payloads are taken from them. */
interface Payloads {
  /**
   * Adds bytes [offset, offset + bytes) of the image to `digest`. The payloads of the unit end at
   * byte `end`, so there is no use in reading ahead beyond it.
   */
  take(digest: PayloadDigest, offset: number, bytes: number, end: number): void;
}

/** Computes the digests of the units that this worker claims, and writes them to the table. */
export function verify(task: VerifyTask): Outcome<PhaseReport> {
  const table = new PayloadTable(task.payloads);
  const unitStarts = new Int32Array(task.unitStarts);
  const { source } = task;
  const digest = new PayloadDigest(() => task.digestKernel);
  const payloads = payloadsOf(source);
  const packed = new PackedBlocks(new Reader(source));
  return runUnits(task, task.unitCount, (unit) => {
    let bytes = 0;
    const first = unitStarts[unit]!;
    const last = unitStarts[unit + 1]!;
    const end = table.end(last - 1);
    for (let index = first; index < last; index++) {
      const count = table.bytes(index);
      const kind = table.kind(index);
      if (kind !== DIGEST.NONE) digest.begin(kind);
      if (table.packed(index) > 0) {
        if (!takePacked(digest, table, index, packed)) continue;
        if (kind === DIGEST.NONE) {
          table.setFound(index, 0, 0);
          bytes += count;
          continue;
        }
      } else {
        payloads.take(digest, table.offset(index), count, end);
      }
      digest.finish();
      table.setFound(index, digest.low, digest.high);
      bytes += count;
    }
    return { pages: 0, bytes };
  });
}

/** Adds a payload that lies in a zstd frame. Notes in the table, and returns, if it does not. */
function takePacked(
  digest: PayloadDigest,
  table: PayloadTable,
  index: number,
  packed: PackedBlocks,
): boolean {
  try {
    const pages = packed.pages(table.offset(index), table.packed(index), table.whole(index));
    const skip = table.skip(index);
    const isDigested = table.kind(index) !== DIGEST.NONE;
    if (isDigested) digest.update(pages.subarray(skip, skip + table.bytes(index)));
    return true;
  } catch (error) {
    if (!(error instanceof MmdumpError) || error.code !== 'IMAGE_CORRUPT') throw error;
    table.setBroken(index);
    return false;
  }
}

function payloadsOf(source: SourceReach): Payloads {
  if (source.kind === 'memory') return new SharedPayloads(source.image, source.name);
  if (source.kind === 'chain') return new ChainPayloads(source.images, source.starts);
  return new ReadPayloads(new Reader(source));
}

/** The images of a chain. A payload lies in one of them. */
class ChainPayloads implements Payloads {
  readonly #images: readonly Payloads[];
  readonly #starts: readonly number[];

  constructor(images: readonly SourceReach[], starts: readonly number[]) {
    this.#images = images.map(payloadsOf);
    this.#starts = starts;
  }

  take(digest: PayloadDigest, offset: number, bytes: number, end: number): void {
    const image = imageOfChain(this.#starts, offset);
    const start = this.#starts[image]!;
    const next = this.#starts[image + 1] ?? Number.POSITIVE_INFINITY;
    // The unit may end in another image. Nothing is read ahead then.
    const last = end > offset && end <= next ? end : offset + bytes;
    this.#images[image]!.take(digest, offset - start, bytes, last - start);
  }
}

/** An image in memory, whose payloads are digested where they lie. */
class SharedPayloads implements Payloads {
  readonly #chunks: readonly Uint8Array[];
  readonly #chunkBytes: number;
  readonly #name: string;

  constructor({ chunks, chunkBytes }: SharedBytes, name: string) {
    this.#name = name;
    this.#chunks = chunks;
    this.#chunkBytes = chunkBytes;
    promptCollection(chunks.reduce((sum, { byteLength }) => sum + byteLength, 0));
  }

  take(digest: PayloadDigest, offset: number, bytes: number): void {
    const chunkBytes = this.#chunkBytes;
    for (let done = 0; done < bytes; ) {
      const at = (offset + done) % chunkBytes;
      const count = Math.min(bytes - done, chunkBytes - at);
      const chunk = this.#chunks[Math.floor((offset + done) / chunkBytes)];
      if (chunk === undefined) throw this.#failure(offset + done);
      digest.update(chunk.subarray(at, at + count));
      done += count;
    }
  }

  #failure(offset: number): MmdumpError {
    const message = `${this.#name}: read at byte ${offset} failed: it ends there`;
    return new MmdumpError('INPUT_FAILED', message, { offset, errno: 'EIO' });
  }
}

/**
 * Makes V8 collect the garbage of this thread in time. V8 does not count shared memory. So a thread
 * that allocates nothing else would hardly ever collect, and the views in its garbage would keep
 * images that all other threads have let go. This allocates as much as V8 should count: the length
 * of the image, up to a bound, because clearing the memory costs time.
 */
function promptCollection(imageBytes: number): void {
  new Uint8Array(Math.min(4 * BUFFER_BYTES, imageBytes)).fill(0, 0, 1);
}

/**
 * An image in files: large payloads are read to where they are digested, small ones to a buffer.
 */
class ReadPayloads implements Payloads {
  readonly #reader: Reader;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #start = 0; // byte of the image at which the buffer begins
  #length = 0;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  take(digest: PayloadDigest, offset: number, bytes: number, end: number): void {
    if (digest.digest === DIGEST.XXH3 && bytes >= READ_IN_PLACE) {
      this.#readInPlace(digest, offset, bytes);
      return;
    }
    for (let done = 0; done < bytes; ) {
      const from = offset + done;
      if (from < this.#start || from >= this.#start + this.#length) {
        this.#load(from, Math.max(bytes - done, end - from));
      }
      const at = from - this.#start;
      const count = Math.min(bytes - done, this.#length - at);
      digest.update(this.#buffer.subarray(at, at + count));
      done += count;
    }
  }

  #readInPlace(digest: PayloadDigest, offset: number, bytes: number): void {
    for (let done = 0; done < bytes; ) {
      const room = digest.room();
      const count = Math.min(bytes - done, room.length);
      this.#reader.read(room, 0, count, offset + done);
      digest.took(count);
      done += count;
    }
  }

  #load(offset: number, wanted: number): void {
    const length = Math.min(BUFFER_BYTES, wanted);
    this.#length = 0; // for the case that the read fails
    this.#reader.read(this.#buffer, 0, length, offset);
    this.#start = offset;
    this.#length = length;
  }
}
