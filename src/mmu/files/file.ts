/** A file of a simulated machine, as its user holds it: a name, its bytes, its kind. */
import { bytesOf } from '../../shared/arguments/bytes.ts';
import { flag, optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, record, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { MachineParts } from '../machine-parts.ts';
import { FILE_BACKING, FILE_KIND } from './file-table.ts';
import { type CacheContext, putFile } from './page-cache.ts';

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
  /** No name leads to it any more; only mappings keep it. Default false. */
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

/** A file of a simulated machine, as the program that made or found it holds it. */
export class SimulatedFile {
  /** Names the file in its machine: `mmap` takes it. */
  readonly id: number;
  readonly #machine: MachineParts;
  #open = true;

  /** @internal */
  constructor(machine: MachineParts, id: number) {
    this.#machine = machine;
    this.id = id;
  }

  /** Its path, as text; bytes that are no UTF-8 are replaced. */
  get path(): string {
    return this.#machine.files.pathText(this.id);
  }

  /** Bytes. */
  get size(): number {
    return this.#machine.files.size(this.id);
  }

  /** Whether no name leads to it any more. */
  get isDeleted(): boolean {
    return (this.#machine.files.kind(this.id) & FILE_KIND.DELETED) !== 0;
  }

  /** Whether its content lies in memory alone (memfd, tmpfs). */
  get isMemoryBacked(): boolean {
    return (this.#machine.files.kind(this.id) & FILE_KIND.MEMORY) !== 0;
  }

  /** Removes the name (unlink): mappings go on, and from now on the content is theirs to keep. */
  unlink(): void {
    this.#machine.files.markDeleted(this.id);
  }

  /** Gives this object's reference back. A deleted file goes with its last mapping. */
  close(): void {
    if (!this.#open || !this.isDeleted) return;
    this.#open = false;
    putFile(cacheContext(this.#machine), this.id);
  }
}

/** The page cache's view of a machine outside of any mm. */
export function cacheContext(machine: MachineParts, thread: number = machine.thread): CacheContext {
  const { memory, pages, allocator, threads, mayBlock, files, hostFiles } = machine;
  return { memory, pages, allocator, threads, thread, mayBlock, files, hostFiles };
}

/** The raw bytes of a path. OPTION_INVALID for what no file can be called. */
export function filePath(what: string, path: unknown): Uint8Array {
  const bytes = typeof path === 'string' ? Buffer.from(path) : bytesOf(what, path);
  if (bytes.length > 0 && !bytes.includes(0)) return bytes;
  throw refusal(what, path, 'a path that is not empty and has no NUL');
}

/** Creates a simulated file; returns its id. */
export function createFile(machine: MachineParts, options: FileOptions): number {
  const {
    path,
    content,
    memoryBacked,
    deleted = false,
  } = optionsOf('createFile', options, FILE_OPTIONS);
  if ((content === undefined) === (memoryBacked === undefined)) {
    throw new MmdumpError('OPTION_INVALID', "a file needs either 'content' or 'memoryBacked'");
  }
  const kind = (deleted ? FILE_KIND.DELETED : 0) | (memoryBacked ? FILE_KIND.MEMORY : 0);
  if (memoryBacked !== undefined) {
    const { size } = memoryBacked;
    return machine.files.create({ path, kind, backing: FILE_BACKING.NONE, size, contentAt: 0 });
  }
  const bytes = content ?? new Uint8Array();
  const contentAt = machine.store.add(bytes);
  const backing = FILE_BACKING.STORE;
  return machine.files.create({ path, kind, backing, size: bytes.length, contentAt });
}

/** Registers a file of the host, which is opened when somebody reads it; never written. */
export function createHostFile(machine: MachineParts, path: Uint8Array, size: number): number {
  const backing = FILE_BACKING.HOST;
  return machine.files.create({ path, kind: 0, backing, size, contentAt: 0 });
}
