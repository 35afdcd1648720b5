/**
 * Where an image is read from: a file or memory, at any offset. A read returns exactly the bytes
 * asked for or fails; nothing is ever read beyond the end.
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { SourceReach } from '../../shared/dump/tasks.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { GiB } from '../../shared/page.ts';
import type { MemoryImage } from '../sinks/memory-sink.ts';

export interface ByteSource {
  /** For messages: `image 'a.cpt'`. */
  readonly name: string;
  readonly path: string | null;
  readonly bytes: number;
  /** Fills `into` from `offset` on. IMAGE_TRUNCATED beyond the end, INPUT_FAILED otherwise. */
  read(into: Uint8Array, offset: number): Promise<void>;
  /** What a worker reads the same bytes from. */
  readonly reach: SourceReach;
  close(): Promise<void>;
}

/** Node ends the process when it is asked to read 2^31 bytes or more at once. */
const MAX_READ = GiB;

class FileSource implements ByteSource {
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
    for (let done = 0; done < into.length; ) {
      const length = Math.min(into.length - done, MAX_READ);
      const part = { buffer: into, offset: done, length };
      const { bytesRead } = await this.#handle
        .read({ ...part, position: offset + done })
        .catch((error: unknown) => {
          throw inputFailed(this.name, offset + done, error);
        });
      if (bytesRead === 0) throw truncated(this.name, offset + done, this.bytes);
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

class MemorySource implements ByteSource {
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
      const chunk = this.#chunks[Math.floor((offset + done) / chunkBytes)]!;
      into.set(chunk.subarray(at, at + count), done);
      done += count;
    }
  }

  async close(): Promise<void> {}
}

function assertInside(source: ByteSource, offset: number, length: number): void {
  if (offset >= 0 && offset + length <= source.bytes) return;
  throw truncated(source.name, offset, source.bytes);
}

function truncated(name: string, offset: number, bytes: number): MmdumpError {
  return new MmdumpError(
    'IMAGE_TRUNCATED',
    `${name} ends at byte ${bytes}, in the middle of what byte ${offset} begins`,
    { offset },
  );
}

function inputFailed(name: string, offset: number, error: unknown): MmdumpError {
  const fields = { offset, errno: errnoOf(error) ?? 'EIO' };
  const message = `${name}: read at byte ${offset} failed: ${reasonOf(error)}`;
  return new MmdumpError('INPUT_FAILED', message, fields, error);
}

/** Opens a file or a memory sink's image. */
export async function openSource(from: string | MemoryImage): Promise<ByteSource> {
  if (typeof from !== 'string') return new MemorySource(from);
  let handle: FileHandle | undefined;
  try {
    // Looked at before it is opened: to open a pipe would wait for a writer.
    if (!(await stat(from)).isFile()) {
      throw new MmdumpError('INPUT_FAILED', `${from} is not a regular file`, { path: from });
    }
    handle = await open(from, 'r');
    return new FileSource(from, handle, (await handle.stat()).size);
  } catch (error) {
    await handle?.close();
    if (error instanceof MmdumpError) throw error;
    const fields = { path: from, errno: errnoOf(error) ?? 'EIO' };
    throw new MmdumpError('INPUT_FAILED', `${from}: ${reasonOf(error)}`, fields, error);
  }
}
