/**
 * A file of a simulated machine, as its user holds it: what Linux calls an open file.
 *
 *   OPEN ──close──▶ CLOSED                              close() again does nothing
 *   OPEN ──closeAsync──▶ CLOSING ──gate passed──▶ CLOSED
 *                           └────── aborted ─────▶ OPEN
 *
 * An object that is not CLOSED holds one open reference to its file (`file-table.ts`). An object
 * belongs to one thread; each call of `createFile`, `hostFile` and `lookupFile` makes a new one.
 */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { abortSignal, flag, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, record, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { FILE_BACKING, FILE_KIND } from '../files/file-record.ts';
import type { FileFields } from '../files/file-table.ts';
import { cacheContext, putFile, unlinkFile } from '../files/page-cache.ts';
import { holdGate, passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';

/** A file that lies in memory alone. */
export interface MemoryBacked {
  /** Bytes. */
  readonly size: number;
}

/** What `createFile` makes. */
export interface FileOptions {
  /** Absolute path. Its raw bytes where it is not UTF-8. */
  readonly path: string | ArrayBufferView;
  /** Bytes of an ordinary file, copied. Absent pages are read from here. */
  readonly content?: ArrayBufferView | undefined;
  /** Bytes of a memory-backed file (memfd, tmpfs), which starts as zeros. */
  readonly memoryBacked?: MemoryBacked | undefined;
  /** No name leads to it any more; only mappings and open references keep it. Default false. */
  readonly deleted?: boolean | undefined;
}

/** The same, with bytes for every view. */
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

/** The raw bytes of a path. OPTION_INVALID for what no file can be called. */
export function filePath(what: string, path: unknown): Uint8Array {
  const bytes = typeof path === 'string' ? Buffer.from(path) : bytesOf(what, path);
  if (bytes.length > 0 && !bytes.includes(0)) return bytes;
  throw refusal(what, path, 'a path that is not empty and has no NUL');
}

/** A file of a simulated machine, as the program that made or found it holds it. */
export class SimulatedFile {
  /** What `mmap` takes. Another file may get the number once this one is gone. */
  readonly id: number;
  readonly #parts: MachineParts;
  #state: 'open' | 'closing' | 'closed' = 'open';

  /** @internal The object takes over one open reference of the caller. */
  constructor(machine: MachineParts, id: number) {
    this.#parts = machine;
    this.id = id;
  }

  /** MACHINE_CLOSED once it is. */
  get #machine(): MachineParts {
    this.#parts.threads.assertOpen();
    return this.#parts;
  }

  /** EBADF once the object is closed, as all members but `id` and the two forms of `close`. */
  get path(): string {
    return this.#open().files.pathText(this.id);
  }

  /** Bytes. */
  get size(): number {
    return this.#open().files.size(this.id);
  }

  /** Whether no name leads to it any more. */
  get isDeleted(): boolean {
    return (this.#open().files.kind(this.id) & FILE_KIND.DELETED) !== 0;
  }

  /** Whether its content lies in memory alone (memfd, tmpfs). */
  get isMemoryBacked(): boolean {
    return (this.#open().files.kind(this.id) & FILE_KIND.MEMORY) !== 0;
  }

  /**
   * Removes the name (unlink): mappings go on, and from now on the content is theirs to keep. Nothing
   * happens if it has none any more. EAGAIN while the machine is frozen, on a thread that must not wait.
   */
  unlink(): void {
    const machine = this.#open();
    holdGate(machine, machine.thread, () => {
      unlinkFile(cacheContext(machine, machine.thread), this.id);
    });
  }

  /** Waits while the machine is frozen. Rejects with AbortError when `signal` fires before. */
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
   * Gives this object's reference back: a file without a name goes with its last reference and its
   * last mapping. A second call does nothing. EAGAIN while the machine is frozen, on a thread that
   * must not wait: the object is still open then.
   */
  close(): void {
    if (this.#parts.threads.isClosed) return; // it went with its machine
    if (this.#state !== 'open') return;
    const machine = this.#machine;
    holdGate(machine, machine.thread, () => {
      putFile(cacheContext(machine, machine.thread), this.id);
    });
    this.#state = 'closed';
  }

  /** Waits while the machine is frozen. AbortError when `signal` fires before: it is open then. */
  async closeAsync(signal?: AbortSignal): Promise<void> {
    optional(abortSignal)('signal', signal);
    if (this.#parts.threads.isClosed) return; // it went with its machine
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

/** What the options ask for. OPTION_INVALID. */
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
 * A file of the host, which is opened when somebody reads it and never written. Its record goes with
 * the last open reference and mapping.
 */
export function hostFileFields(path: Uint8Array, size: number): FileFields {
  return { path, kind: 0, backing: FILE_BACKING.HOST, size };
}
