/** Walks over a native image, object by object, in the order of the stream. */
import { crc32 } from 'node:zlib';
import { decodeObject } from '../../../shared/formats/cpt/decode-object.ts';
import { pad8 } from '../../../shared/formats/cpt/encode-mm.ts';
import { Fields, MAX_HEADER } from '../../../shared/formats/cpt/fields.ts';
import { decodeHead, type ImageHead } from '../../../shared/formats/cpt/head.ts';
import type { CptObject, NameObject, StateObject } from '../../../shared/formats/cpt/objects.ts';
import { FILE_HEAD, OBJECT } from '../../../shared/formats/cpt/records.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import { Yielder } from '../../job/stop.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { LoadedPart } from './loaded-part.ts';
import { MAX_NAME_PAYLOAD } from './names.ts';

/** The receiver of what the walk meets. */
export interface Visitor {
  /**
   * Takes the next object. `payload` is the path of a NAME or the name of a STATE. It may throw an
   * ImageProblem.
   */
  object(object: CptObject, payload: Uint8Array | undefined): void;
  /** Takes a problem. It throws to end the walk, or returns to continue it if that is possible. */
  problem(problem: ImageProblem): void;
}

/** Objects between two looks at the signal. */
const OBJECTS_PER_LOOK = 256;

export async function readHead(source: ByteSource): Promise<ImageHead> {
  const start = new Uint8Array(Math.min(FILE_HEAD.SIZE, source.bytes));
  await source.read(start, 0);
  return decodeHead(start, source.bytes);
}

/**
 * Visits every object. If an object cannot be read, the walk goes on behind it, provided that its
 * length is possible. `signal` is checked whenever more of the image is loaded, and every 256
 * objects.
 */
export async function walkObjects(
  source: ByteSource,
  head: ImageHead,
  visitor: Visitor,
  signal: AbortSignal | undefined,
): Promise<void> {
  assertLength(source, head, visitor);
  const part = new LoadedPart(source);
  try {
    await walkParts(part, source, head, visitor, signal);
  } finally {
    part.end();
  }
}

async function walkParts(
  part: LoadedPart,
  source: ByteSource,
  head: ImageHead,
  visitor: Visitor,
  signal: AbortSignal | undefined,
): Promise<void> {
  const fields = new Fields();
  const end = Math.min(source.bytes, head.totalLen);
  const yielder = new Yielder(signal);
  let offset = head.bytes;
  for (let objects = 0; offset < end; ) {
    const bytes = part.peek(offset, MAX_HEADER);
    if (bytes === undefined) {
      throwIfAborted(signal);
      await part.load(offset);
      continue;
    }
    if (++objects % OBJECTS_PER_LOOK === 0) throwIfAborted(signal);
    if (yielder.isDue()) await yielder.yield();
    let length: number;
    try {
      const object = decodeObject(head.version, fields, bytes, offset, end - offset);
      length = object.length;
      const payload = await readName(source, object);
      visitor.object(object, payload);
    } catch (error) {
      if (!(error instanceof ImageProblem)) throw error;
      visitor.problem(error);
      length = claimedLength(bytes, end - offset);
      if (length === 0) return; // it is unknown where the next object begins
    }
    offset += length;
  }
}

function assertLength(source: ByteSource, head: ImageHead, visitor: Visitor): void {
  if (source.bytes === head.totalLen) return;
  const isShort = source.bytes < head.totalLen;
  const message = `the image has ${source.bytes} bytes, but the head's total_len is ${head.totalLen}`;
  const code = isShort ? 'IMAGE_TRUNCATED' : 'IMAGE_CORRUPT';
  visitor.problem(new ImageProblem(code, Math.min(source.bytes, head.totalLen), message));
}

/**
 * Reads the path of a NAME or the name of a STATE. It is used as soon as it is read, so its checksum
 * is checked here. Undefined for other objects.
 */
async function readName(source: ByteSource, object: CptObject): Promise<Uint8Array | undefined> {
  if (object.type === 'NAME') return readPath(source, object);
  return object.type === 'STATE' ? readStateName(source, object) : undefined;
}

async function readStateName(source: ByteSource, object: StateObject): Promise<Uint8Array> {
  const { offset, headerLength, nameBytes, nameCrc } = object;
  const payload = new Uint8Array(pad8(nameBytes));
  await source.read(payload, offset + headerLength);
  if (crc32(payload) === nameCrc) return payload;
  const message = `STATE at byte ${offset}: name_crc does not match its name`;
  throw new ImageProblem('IMAGE_CHECKSUM', offset, message);
}

async function readPath(source: ByteSource, object: NameObject): Promise<Uint8Array> {
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

/** The length that a damaged object gives for itself; 0 if that is impossible. */
function claimedLength(bytes: Uint8Array, left: number): number {
  if (bytes.length < OBJECT.SIZE) return 0;
  const length = Buffer.from(bytes.buffer, bytes.byteOffset, 8).readBigUInt64LE(OBJECT.LEN);
  const isPossible = length >= OBJECT.SIZE && length % 8n === 0n && length <= BigInt(left);
  return isPossible ? Number(length) : 0;
}
