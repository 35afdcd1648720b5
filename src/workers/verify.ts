/** The verify phase: the checksums of the payloads of an image. */
import { crc32 } from 'node:zlib';
import { PayloadTable } from '../shared/dump/payload-table.ts';
import type { PhaseReport, SharedBytes, VerifyTask } from '../shared/dump/tasks.ts';
import { MmdumpError, type Outcome } from '../shared/errors.ts';
import { KiB } from '../shared/page.ts';
import { Reader } from './parts/read-at.ts';
import { runUnits } from './phase.ts';

/** Read and summed up in one go. A buffer beyond the core's own cache (512 KiB) takes twice as long. */
const BUFFER_BYTES = 128 * KiB;

interface Summer {
  /** crc32 of `bytes` bytes from `offset` on; nothing behind byte `end` will be asked for soon. */
  crcOf(offset: number, bytes: number, end: number): number;
}

export function verify(task: VerifyTask): Outcome<PhaseReport> {
  const payloads = new PayloadTable(task.payloads);
  const unitStarts = new Int32Array(task.unitStarts);
  const { source } = task;
  const summer: Summer =
    source.kind === 'memory'
      ? new SharedSummer(source.image, source.name)
      : new ReadingSummer(new Reader(source));
  return runUnits(task, task.unitCount, (unit) => {
    let bytes = 0;
    const first = unitStarts[unit]!;
    const last = unitStarts[unit + 1]!;
    const end = payloads.offset(last - 1) + payloads.bytes(last - 1);
    for (let index = first; index < last; index++) {
      const count = payloads.bytes(index);
      payloads.setFound(index, summer.crcOf(payloads.offset(index), count, end));
      bytes += count;
    }
    return { pages: 0, bytes };
  });
}

/** Of an image in memory: where it lies, nothing is copied. */
class SharedSummer implements Summer {
  readonly #chunks: readonly Uint8Array[];
  readonly #chunkBytes: number;
  readonly #name: string;

  constructor({ chunks, chunkBytes }: SharedBytes, name: string) {
    this.#name = name;
    this.#chunks = chunks;
    this.#chunkBytes = chunkBytes;
    promptCollection(chunks.reduce((sum, { byteLength }) => sum + byteLength, 0));
  }

  crcOf(offset: number, bytes: number): number {
    const chunkBytes = this.#chunkBytes;
    let crc = 0;
    for (let done = 0; done < bytes; ) {
      const at = (offset + done) % chunkBytes;
      const count = Math.min(bytes - done, chunkBytes - at);
      const chunk = this.#chunks[Math.floor((offset + done) / chunkBytes)];
      if (chunk === undefined) throw this.#failure(offset + done);
      crc = crc32(chunk.subarray(at, at + count), crc);
      done += count;
    }
    return crc;
  }

  #failure(offset: number): MmdumpError {
    const message = `${this.#name}: read at byte ${offset} failed: it ends there`;
    return new MmdumpError('INPUT_FAILED', message, { offset, errno: 'EIO' });
  }
}

/**
 * V8 does not count shared memory, so a thread that allocates nothing else would hardly ever collect
 * its garbage, and views in it keep images that everybody else has let go. So much is counted as the
 * image takes, up to a bound: clearing it costs time.
 */
function promptCollection(imageBytes: number): void {
  new Uint8Array(Math.min(4 * BUFFER_BYTES, imageBytes)).fill(0, 0, 1);
}

/** Of a file: through a buffer, which small neighbouring payloads share. */
class ReadingSummer implements Summer {
  readonly #reader: Reader;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #start = 0; // byte of the image
  #length = 0;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  crcOf(offset: number, bytes: number, end: number): number {
    let crc = 0;
    for (let done = 0; done < bytes; ) {
      const from = offset + done;
      if (from < this.#start || from >= this.#start + this.#length) {
        this.#load(from, Math.max(bytes - done, end - from));
      }
      const at = from - this.#start;
      const count = Math.min(bytes - done, this.#length - at);
      crc = crc32(this.#buffer.subarray(at, at + count), crc);
      done += count;
    }
    return crc;
  }

  #load(offset: number, wanted: number): void {
    const length = Math.min(BUFFER_BYTES, wanted);
    this.#length = 0; // should it fail
    this.#reader.read(this.#buffer, 0, length, offset);
    this.#start = offset;
    this.#length = length;
  }
}
