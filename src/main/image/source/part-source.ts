/**
 * Reads an image in parts in place: `OUT.000`, `OUT.001` and so on (docs/IMAGE_FORMAT.md, "Parts").
 * The number and the lengths of the parts follow from the length of the first one and from
 * total_len in its head.
 */
import { type FileHandle, readdir } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { SourceReach } from '../../../shared/dump/tasks/source-reach.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../../shared/errors.ts';
import { decodeHead } from '../../../shared/formats/cpt/head.ts';
import { FILE_HEAD } from '../../../shared/formats/cpt/records.ts';
import {
  bytesOfPart,
  isPartOf,
  PART_BLOCK,
  PARTS_MAX,
  partCount,
  partPath,
} from '../../../shared/formats/parts.ts';
import { ImageProblem, type Problem } from '../../../shared/formats/problem.ts';
import { assertInside, type ByteSource, closeAll, openFile, readFully } from './byte-source.ts';

/** The parts that could be opened, and the reason why there are no more. */
interface Joined {
  readonly handles: readonly FileHandle[];
  /** How many parts the image has; null if that is unknown. */
  readonly count: number | null;
  /** Bytes of every part but the last. */
  readonly partBytes: number;
  /** Bytes that can be read from the beginning of the image on, without a gap. */
  readonly bytes: number;
  /** The first part that is missing or has the wrong length. */
  readonly problem: Problem | null;
}

class PartSource implements ByteSource {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly problem: Problem | null;
  readonly #count: number | null;
  readonly #partBytes: number;
  readonly #handles: readonly FileHandle[];

  constructor(path: string, { handles, count, partBytes, bytes, problem }: Joined) {
    this.path = path;
    this.name = `image '${path}'`;
    this.bytes = bytes;
    this.problem = problem;
    this.#handles = handles;
    this.#count = count;
    this.#partBytes = partBytes;
  }

  get reach(): SourceReach {
    const fds = this.#handles.map(({ fd }) => fd);
    return { kind: 'parts', name: this.name, fds, partBytes: this.#partBytes };
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    assertInside(this, offset, into.length);
    for (let done = 0; done < into.length; ) {
      const at = offset + done;
      const from = at % this.#partBytes;
      const count = Math.min(into.length - done, this.#partBytes - from);
      const handle = this.#handles[Math.floor(at / this.#partBytes)]!;
      await readFully(this, handle, into.subarray(done, done + count), from, at);
      done += count;
    }
  }

  /** Files with the name of a part beyond the last one. They may come from an older image. */
  async extraParts(): Promise<Problem[]> {
    if (this.#count === null) return [];
    const image = basename(this.path);
    const last = partPath(image, this.#count - 1);
    const names = await this.#neighbours();
    const extra = names.filter((name) => isPartOf(image, name) && name > last).sort();
    return extra.map((name) => {
      const message = `'${name}' is not a part of it: the image ends with '${last}'`;
      return { code: 'IMAGE_CORRUPT', offset: this.bytes, address: null, message };
    });
  }

  /** Names in the directory of the image. */
  async #neighbours(): Promise<string[]> {
    try {
      return await readdir(dirname(this.path));
    } catch (error) {
      const fields = { path: this.path, errno: errnoOf(error) ?? 'EIO' };
      const message = `${this.name}: its directory cannot be read: ${reasonOf(error)}`;
      throw new MmdumpError('INPUT_FAILED', message, fields, error);
    }
  }

  async close(): Promise<void> {
    await closeAll(this.name, this.#handles);
  }
}

/** Opens the parts of the image called `path`. INPUT_FAILED if there is no first part. */
export async function openParts(path: string): Promise<ByteSource> {
  const handles: FileHandle[] = [];
  try {
    return new PartSource(path, await joinParts(path, handles));
  } catch (error) {
    for (const handle of handles) await handle.close().catch(() => {}); // `error` is reported
    throw error;
  }
}

async function joinParts(path: string, handles: FileHandle[]): Promise<Joined> {
  const first = await openFile(partPath(path, 0));
  handles.push(first.handle);
  const partBytes = first.bytes;
  const total = await totalLength(first.handle, partBytes);
  const alone = { handles, count: null, partBytes, bytes: partBytes, problem: null };
  if (total === null) return alone; // the reader of the head reports what is wrong with it
  if (total <= partBytes) return { ...alone, count: 1 };
  const count = partCount(total, partBytes);
  if (partBytes % PART_BLOCK !== 0 || count > PARTS_MAX) {
    const message =
      `its first part '${partPath(path, 0)}' has ${partBytes} bytes, expected a multiple of ` +
      `${PART_BLOCK}, and at most ${PARTS_MAX} of them for ${total} bytes`;
    return { ...alone, problem: problemAt(0, 'IMAGE_TRUNCATED', message) };
  }
  let problem: Problem | null = null;
  for (let part = 1; part < count; part++) {
    const offset = part * partBytes;
    const expected = bytesOfPart(total, partBytes, part);
    const bytes = await addPart(path, part, count, handles);
    if (bytes === expected) continue;
    const found = bytes === null ? 'is missing' : `has ${bytes} bytes`;
    const message = `part '${partPath(path, part)}' ${found}, expected ${expected} bytes`;
    const isShort = bytes === null || bytes < expected;
    problem ??= problemAt(offset, isShort ? 'IMAGE_TRUNCATED' : 'IMAGE_CORRUPT', message);
    if (isShort) return { handles, count, partBytes, bytes: offset + (bytes ?? 0), problem };
  }
  return { handles, count, partBytes, bytes: total, problem };
}

function problemAt(offset: number, code: Problem['code'], message: string): Problem {
  return { code, offset, address: null, message };
}

/** total_len of the file head; null if the head is damaged, since then nothing else can be read. */
async function totalLength(handle: FileHandle, bytes: number): Promise<number | null> {
  const start = new Uint8Array(Math.min(FILE_HEAD.SIZE, bytes));
  const { bytesRead } = await handle.read(start, 0, start.length, 0);
  try {
    return decodeHead(start.subarray(0, bytesRead), bytes).totalLen;
  } catch (error) {
    if (error instanceof ImageProblem) return null;
    throw error;
  }
}

/** Opens a part and returns its length in bytes; null if there is no such file. */
async function addPart(
  path: string,
  part: number,
  count: number,
  handles: FileHandle[],
): Promise<number | null> {
  try {
    const { handle, bytes } = await openFile(partPath(path, part));
    handles.push(handle);
    return bytes;
  } catch (error) {
    if (!(error instanceof MmdumpError)) throw error;
    const { code, message, fields } = error;
    if (fields.errno === 'ENOENT') return null;
    if (fields.errno !== 'EMFILE' && fields.errno !== 'ENFILE') throw error;
    const advice = `all ${count} parts must be open at once: raise \`ulimit -n\`, or join them with cat`;
    throw new MmdumpError(code, `${message}: ${advice}`, fields, error);
  }
}
