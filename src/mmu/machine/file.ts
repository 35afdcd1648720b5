/**
 * An open file of a simulated machine, as its user holds it (struct file).
 *
 *   OPEN ──close──▶ CLOSED                              close() again does nothing
 *   OPEN ──closeAsync──▶ CLOSING ──gate passed──▶ CLOSED
 *                           └────── aborted ─────▶ OPEN
 *
 * An object that is not CLOSED holds one open reference to its file (`file-table.ts`). An object
 * belongs to one thread. Each call of `createFile`, `hostFile` and `lookupFile` makes a new object.
 */
import { type Stats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { abortSignal, flag, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, record, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { FILE_BACKING, FILE_KIND } from '../files/file-record.ts';
import type { FileFields } from '../files/file-table.ts';
import { cacheContext, putFile, unlinkFile } from '../files/page-cache.ts';
import { holdGate, passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';

/** A memory-backed file (memfd, tmpfs): its content lies in the page cache alone. */
export interface MemoryBacked {
  /** Size of the file in bytes. */
  readonly size: number;
}

/** Options of `createFile`. Exactly one of `content` and `memoryBacked` is needed. */
export interface FileOptions {
  /** Absolute path. A path that is not UTF-8 is given as raw bytes. */
  readonly path: string | ArrayBufferView;
  /** Content of an ordinary file, which is copied. Absent pages are read from there. */
  readonly content?: ArrayBufferView | undefined;
  /** Makes the file memory-backed (memfd, tmpfs). Its content starts as zeros. */
  readonly memoryBacked?: MemoryBacked | undefined;
  /**
   * Whether the file has no name, so that only mappings and open objects keep it. Default false.
   */
  readonly deleted?: boolean | undefined;
}

/** Checked FileOptions, in which every view has become bytes. */
type CheckedFile = Omit<FileOptions, 'path' | 'content'> & {
  readonly path: Uint8Array;
  readonly content?: Uint8Array | undefined;
};

const FILE_OPTIONS: Shape<CheckedFile> = {
  path: filePath,
  content: optional(bytesOf),
  memoryBacked: optional(record<MemoryBacked>({ size: wholeNumber(0) })),
  deleted: optional(flag),
};

/** Returns the raw bytes of a path. Throws OPTION_INVALID for a path that is empty or has a NUL. */
export function filePath(what: string, path: unknown): Uint8Array {
  const bytes = typeof path === 'string' ? Buffer.from(path) : bytesOf(what, path);
  if (bytes.length > 0 && !bytes.includes(0)) return bytes;
  throw refusal(what, path, 'a path that is not empty and has no NUL');
}

/**
 * An open file of a simulated machine, which holds a reference to it. `createFile`, `hostFile` and
 * `lookupFile` make one. After `close`, all members throw EBADF, except `id` and the two forms of
 * `close`. Once the machine is closed, they throw MACHINE_CLOSED.
 */
export class SimulatedFile {
  /**
   * The number that `mmap` takes as `file`. It can be used for another file once this one is gone.
   */
  readonly id: number;
  readonly #parts: MachineParts;
  #state: 'open' | 'closing' | 'closed' = 'open';

  /** @internal The object takes over an open reference of the caller. */
  constructor(machine: MachineParts, id: number) {
    this.#parts = machine;
    this.id = id;
  }

  /** Throws MACHINE_CLOSED once the machine is closed. */
  get #machine(): MachineParts {
    this.#parts.threads.assertOpen();
    return this.#parts;
  }

  /**
   * The path that the file was created with, as text; bytes that are not UTF-8 are replaced. It
   * stays the same when the name is removed: ' (deleted)' is never added. Throws EBADF after
   * `close`.
   */
  get path(): string {
    return this.#open().files.pathText(this.id);
  }

  /** The size in bytes. Throws EBADF after `close`. */
  get size(): number {
    return this.#open().files.size(this.id);
  }

  /** Whether the file has no name any more. Throws EBADF after `close`. */
  get isDeleted(): boolean {
    return (this.#open().files.kind(this.id) & FILE_KIND.DELETED) !== 0;
  }

  /**
   * Whether the content lies in the page cache alone (memfd, tmpfs). Throws EBADF after `close`.
   */
  get isMemoryBacked(): boolean {
    return (this.#open().files.kind(this.id) & FILE_KIND.MEMORY) !== 0;
  }

  /**
   * Removes the name of the file, as unlink(2). Mappings keep the file, and dumps store its content
   * from then on. Nothing happens if the file has no name any more. Throws EBADF after `close`;
   * throws EAGAIN if the machine is frozen and this thread must not block.
   */
  unlink(): void {
    const machine = this.#open();
    holdGate(machine, machine.thread, () => {
      unlinkFile(cacheContext(machine, machine.thread), this.id);
    });
  }

  /**
   * Like `unlink`, but waits while the machine is frozen. Rejects with AbortError if `signal` fires
   * during the wait.
   */
  async unlinkAsync(signal?: AbortSignal): Promise<void> {
    optional(abortSignal)('signal', signal);
    const machine = this.#open();
    await passGateAsync(
      machine,
      (thread) => unlinkFile(cacheContext(machine, thread), this.id),
      signal,
    );
  }

  /**
   * Drops this object's reference, as close(2). A file without a name is freed with its last
   * reference and its last mapping. A second call does nothing, and so does a call after the
   * machine was closed. Throws EAGAIN if the machine is frozen and this thread must not block; the
   * object then stays open.
   */
  close(): void {
    if (this.#parts.threads.isClosed) return; // the file is gone with its machine
    if (this.#state !== 'open') return;
    const machine = this.#machine;
    holdGate(machine, machine.thread, () => {
      putFile(cacheContext(machine, machine.thread), this.id);
    });
    this.#state = 'closed';
  }

  /**
   * Like `close`, but waits while the machine is frozen. Rejects with AbortError if `signal` fires
   * during the wait; the object then stays open.
   */
  async closeAsync(signal?: AbortSignal): Promise<void> {
    optional(abortSignal)('signal', signal);
    if (this.#parts.threads.isClosed) return; // the file is gone with its machine
    if (this.#state !== 'open') return;
    const machine = this.#machine;
    this.#state = 'closing';
    try {
      await passGateAsync(
        machine,
        (thread) => putFile(cacheContext(machine, thread), this.id),
        signal,
      );
    } catch (error) {
      this.#state = 'open';
      throw error;
    }
    this.#state = 'closed';
  }

  /** The same as `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The same as `closeAsync`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeAsync();
  }

  #open(): MachineParts {
    if (this.#state === 'open') return this.#machine;
    throw new MmdumpError('EBADF', `file ${this.id} was closed: use an object that is open`);
  }
}

/**
 * Checks the options of `createFile` and returns the fields of the new file. Throws OPTION_INVALID.
 */
export function fileFields(options: FileOptions): FileFields {
  const checked = optionsOf('createFile', options, FILE_OPTIONS);
  const { path, content, memoryBacked, deleted = false } = checked;
  if ((content === undefined) === (memoryBacked === undefined)) {
    throw new MmdumpError('OPTION_INVALID', "a file needs either 'content' or 'memoryBacked'");
  }
  const kind =
    (deleted ? FILE_KIND.DELETED : FILE_KIND.NAMED) | (memoryBacked ? FILE_KIND.MEMORY : 0);
  if (memoryBacked === undefined) {
    const bytes = content ?? new Uint8Array();
    return { path, kind, backing: FILE_BACKING.STORE, size: bytes.length, content: bytes };
  }
  const { size } = memoryBacked;
  return { path, kind, backing: FILE_BACKING.NONE, size };
}

/**
 * Returns the fields of a file of the host. It is opened when a page of it is read, and never
 * written. Its name holds no reference: the record is freed with the last open reference and
 * mapping.
 */
export function hostFileFields(path: Uint8Array, size: number): FileFields {
  return { path, kind: 0, backing: FILE_BACKING.HOST, size };
}

/**
 * Looks for a file of the host, and returns the fields of a file that stands for it. Throws ENOENT
 * if it cannot be found.
 */
export function findHostFile(path: string): FileFields {
  let size: number;
  try {
    ({ size } = statSync(path));
  } catch (error) {
    throw notThere(path, error);
  }
  return hostFileFields(Buffer.from(path), size);
}

/** The asynchronous twin of `findHostFile`. */
export async function findHostFileAsync(path: string): Promise<FileFields> {
  const { size } = await stat(path).catch((error: unknown): Stats => {
    throw notThere(path, error);
  });
  return hostFileFields(Buffer.from(path), size);
}

function notThere(path: string, error: unknown): MmdumpError {
  return new MmdumpError('ENOENT', `file ${path}: ${reasonOf(error)}`, {
    path,
    errno: errnoOf(error) ?? 'ENOENT',
  });
}
