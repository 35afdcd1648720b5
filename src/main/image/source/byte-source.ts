/**
 * The bytes of an image, in a file or in memory, at any offset. A read fills exactly the bytes that
 * it was asked for, or fails. It never goes beyond the end.
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { SourceReach } from '../../../shared/dump/tasks/source-reach.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../../shared/errors.ts';
import type { Problem } from '../../../shared/formats/problem.ts';
import { GiB } from '../../../shared/page.ts';
import type { MemoryImage } from '../../sinks/memory-sink.ts';

export interface ByteSource {
  /** Name for messages, such as `image 'a.cpt'`. */
  readonly name: string;
  readonly path: string | null;
  readonly bytes: number;
  /**
   * Fills `into` with the bytes from `offset` on. IMAGE_TRUNCATED beyond the end, INPUT_FAILED if
   * the system cannot read them, or if an image in memory is gone.
   */
  read(into: Uint8Array, offset: number): Promise<void>;
  /**
   * For an image in memory: throws INPUT_FAILED once its sink was released, or the next dump into
   * it has begun. `read` checks this itself. Code that reads through `reach` uses `whileIntact`.
   */
  assertIntact?(): void;
  /** The descriptors or the memory from which a worker reads the same bytes. */
  readonly reach: SourceReach;
  /** For an image in parts: the first part that is missing or has the wrong length. */
  readonly problem?: Problem | null;
  /** For an image in parts: files that have the name of a part but do not belong to the image. */
  extraParts?(): Promise<Problem[]>;
  close(): Promise<void>;
}

/** Most bytes per read: Node ends the process when it is asked for 2^31 bytes or more at once. */
const MAX_READ = GiB;

export class FileSource implements ByteSource {
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly #handle: FileHandle;

  constructor(path: string, handle: FileHandle, bytes: number) {
    this.path = path;
    this.name = `image '${path}'`;
    this.#handle = handle;
    this.bytes = bytes;
  }

  get reach(): SourceReach {
    return { kind: 'file', fd: this.#handle.fd, name: this.name };
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    assertInside(this, offset, into.length);
    await readFully(this, this.#handle, into, offset, offset);
  }

  async close(): Promise<void> {
    await closeAll(this.name, [this.#handle]);
  }
}

export class MemorySource implements ByteSource {
  readonly name = 'image in memory';
  readonly path: null = null;
  readonly bytes: number;
  readonly #image: MemoryImage;
  readonly #chunks: readonly Uint8Array[];

  constructor(image: MemoryImage) {
    this.#image = image;
    this.bytes = image.bytes;
    this.#chunks = image.chunks;
  }

  get reach(): SourceReach {
    return { kind: 'memory', name: this.name, image: this.#image };
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    assertInside(this, offset, into.length);
    const { chunkBytes } = this.#image;
    for (let done = 0; done < into.length; ) {
      const at = (offset + done) % chunkBytes;
      const count = Math.min(into.length - done, chunkBytes - at);
      const chunk = this.#chunks[Math.floor((offset + done) / chunkBytes)];
      // A chunk that is shorter than the image says would leave a part of `into` unfilled.
      if (chunk === undefined || chunk.length < at + count) {
        throw truncated(this.name, offset + done, this.bytes);
      }
      into.set(chunk.subarray(at, at + count), done);
      done += count;
    }
    this.assertIntact();
  }

  assertIntact(): void {
    const { lease } = this.#image;
    if (lease === undefined || Atomics.load(lease.word, 0) === lease.value) return;
    const reason = 'its sink has been released, or the next dump into it has begun';
    throw new MmdumpError('INPUT_FAILED', `${this.name} is gone: ${reason}`, { reason });
  }

  async close(): Promise<void> {}
}

/**
 * Runs a job that reads a source through its `reach`. The result or the error of the job counts
 * only if all the bytes that it has read were those of the image, else INPUT_FAILED.
 */
export async function whileIntact<T>(
  source: Pick<ByteSource, 'assertIntact'>,
  job: () => Promise<T>,
): Promise<T> {
  try {
    return await job();
  } finally {
    source.assertIntact?.();
  }
}

/** Fills `into` from byte `from` of a file on, which is byte `offset` of the source. */
export async function readFully(
  source: ByteSource,
  handle: FileHandle,
  into: Uint8Array,
  from: number,
  offset: number,
): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const length = Math.min(into.length - done, MAX_READ);
    const part = { buffer: into, offset: done, length, position: from + done };
    const { bytesRead } = await handle.read(part).catch((error: unknown) => {
      throw inputFailed(source.name, offset + done, error);
    });
    if (bytesRead === 0) throw truncated(source.name, offset + done, source.bytes);
    done += bytesRead;
  }
}

export function assertInside(source: ByteSource, offset: number, length: number): void {
  if (offset >= 0 && offset + length <= source.bytes) return;
  throw truncated(source.name, offset, source.bytes);
}

/** Closes all handles. INPUT_FAILED with the first failure, after all were tried. */
export async function closeAll(name: string, handles: readonly FileHandle[]): Promise<void> {
  const closed = await Promise.allSettled(handles.map((handle) => handle.close()));
  const failed = closed.find(({ status }) => status === 'rejected');
  if (failed?.status !== 'rejected') return;
  const { reason } = failed;
  const fields = { errno: errnoOf(reason) ?? 'EIO' };
  const message = `${name}: close failed: ${reasonOf(reason)}`;
  throw new MmdumpError('INPUT_FAILED', message, fields, reason);
}

function truncated(name: string, offset: number, bytes: number): MmdumpError {
  return new MmdumpError(
    'IMAGE_TRUNCATED',
    `${name} ends at byte ${bytes}, in the middle of what begins at byte ${offset}`,
    { offset },
  );
}

function inputFailed(name: string, offset: number, error: unknown): MmdumpError {
  const fields = { offset, errno: errnoOf(error) ?? 'EIO' };
  const message = `${name}: read at byte ${offset} failed: ${reasonOf(error)}`;
  return new MmdumpError('INPUT_FAILED', message, fields, error);
}

/** Opens a file and gets its length. INPUT_FAILED if it cannot be opened or is no regular file. */
export async function openFile(
  path: string,
): Promise<{ readonly handle: FileHandle; readonly bytes: number }> {
  let handle: FileHandle | undefined;
  try {
    // The type is checked before the file is opened, since to open a pipe would wait for a writer.
    if (!(await stat(path)).isFile()) {
      throw new MmdumpError('INPUT_FAILED', `${path} is not a regular file`, { path });
    }
    handle = await open(path, 'r');
    return { handle, bytes: (await handle.stat()).size };
  } catch (error) {
    await handle?.close();
    if (error instanceof MmdumpError) throw error;
    const fields = { path, errno: errnoOf(error) ?? 'EIO' };
    throw new MmdumpError('INPUT_FAILED', `${path}: ${reasonOf(error)}`, fields, error);
  }
}
