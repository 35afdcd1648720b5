/** Walking over a native image, object by object, in the order of the stream. */
import { crc32 } from 'node:zlib';
import { FILE_HEAD, OBJECT } from '../../../shared/image/cpt-records.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import type { ByteSource } from '../../image/byte-source.ts';
import { ImageProblem } from '../../image/problem.ts';
import { Fields, MAX_HEADER } from './fields.ts';
import { decodeHead, type ImageHead } from './head.ts';
import { MAX_NAME_PAYLOAD } from './names.ts';
import { type CptObject, decodeObject, type NameObject } from './objects.ts';

/** Who is told what the walk meets. */
export interface Visitor {
  /** `payload` is given for a NAME. May throw ImageProblem. */
  object(object: CptObject, payload: Uint8Array | undefined): void;
  /** Something is wrong. Throws to end the walk, returns to go on where that is possible. */
  problem(problem: ImageProblem): void;
}

const WINDOW_BYTES = 32_768;

/** A stretch of the image in memory. Headers are small and close together, or far apart. */
class Window {
  readonly #source: ByteSource;
  readonly #buffer = new Uint8Array(WINDOW_BYTES);
  #start = 0;
  #length = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Up to `length` bytes from `offset` on, fewer only at the end of the image; or not loaded. */
  peek(offset: number, length: number): Uint8Array | undefined {
    const wanted = Math.min(length, this.#source.bytes - offset);
    const from = offset - this.#start;
    if (from < 0 || from + wanted > this.#length) return undefined;
    return this.#buffer.subarray(from, from + wanted);
  }

  async load(offset: number): Promise<void> {
    const length = Math.min(WINDOW_BYTES, this.#source.bytes - offset);
    this.#length = 0;
    await this.#source.read(this.#buffer.subarray(0, length), offset);
    this.#start = offset;
    this.#length = length;
  }
}

export async function readHead(source: ByteSource): Promise<ImageHead> {
  const start = new Uint8Array(Math.min(FILE_HEAD.SIZE, source.bytes));
  await source.read(start, 0);
  return decodeHead(start, source.bytes);
}

/**
 * Visits every object. Where one cannot be read, the walk goes on behind it if it can be told.
 * `signal` is looked at whenever more of the image is read.
 */
export async function walkObjects(
  source: ByteSource,
  head: ImageHead,
  visitor: Visitor,
  signal: AbortSignal | undefined,
): Promise<void> {
  const window = new Window(source);
  const fields = new Fields();
  assertLength(source, head, visitor);
  const end = Math.min(source.bytes, head.totalLen);
  let offset = head.bytes;
  while (offset < end) {
    const bytes = window.peek(offset, MAX_HEADER);
    if (bytes === undefined) {
      throwIfAborted(signal);
      await window.load(offset);
      continue;
    }
    let length: number;
    try {
      const object = decodeObject(fields, bytes, offset, end - offset);
      length = object.length;
      const payload = object.type === 'NAME' ? await readName(source, object) : undefined;
      visitor.object(object, payload);
    } catch (error) {
      if (!(error instanceof ImageProblem)) throw error;
      visitor.problem(error);
      length = claimedLength(bytes, end - offset);
      if (length === 0) return; // nobody can tell where the next object begins
    }
    offset += length;
  }
}

function assertLength(source: ByteSource, head: ImageHead, visitor: Visitor): void {
  if (source.bytes === head.totalLen) return;
  const isShort = source.bytes < head.totalLen;
  const message = `${source.bytes} bytes are there, total_len in the file head says ${head.totalLen}`;
  const code = isShort ? 'IMAGE_TRUNCATED' : 'IMAGE_CORRUPT';
  visitor.problem(new ImageProblem(code, Math.min(source.bytes, head.totalLen), message));
}

/** The path of a NAME. It is used as soon as it is read, so its checksum is looked at here. */
async function readName(source: ByteSource, object: NameObject): Promise<Uint8Array> {
  const length = object.length - object.headerLength;
  if (length > MAX_NAME_PAYLOAD) {
    const message = `NAME at byte ${object.offset}: a path of ${length} bytes`;
    throw new ImageProblem('IMAGE_CORRUPT', object.offset, message);
  }
  const payload = new Uint8Array(length);
  await source.read(payload, object.offset + object.headerLength);
  if (crc32(payload) !== object.payloadCrc) {
    const message = `NAME at byte ${object.offset}: payload_crc does not match its path`;
    throw new ImageProblem('IMAGE_CHECKSUM', object.offset, message);
  }
  return payload;
}

/** The length that a damaged object gives for itself, 0 if it is impossible. */
function claimedLength(bytes: Uint8Array, left: number): number {
  if (bytes.length < OBJECT.SIZE) return 0;
  const length = Buffer.from(bytes.buffer, bytes.byteOffset, 8).readBigUInt64LE(OBJECT.LEN);
  const isPossible = length >= OBJECT.SIZE && length % 8n === 0n && length <= BigInt(left);
  return isPossible ? Number(length) : 0;
}
