/** A file of a simulated machine, as its user holds it: a name, its bytes, its kind. */
import { MmdumpError } from '../../shared/errors.ts';
import type { MachineParts } from '../machine-parts.ts';
import { FILE_BACKING, FILE_KIND } from './file-table.ts';
import { type CacheContext, putFile } from './page-cache.ts';

export interface FileOptions {
  /** Absolute path. Its raw bytes where it is not UTF-8. */
  readonly path: string | Uint8Array;
  /** Bytes of an ordinary file. Absent pages are read from here. */
  readonly content?: Uint8Array;
  /** Bytes of a memory-backed file (memfd, tmpfs), which starts as zeros. */
  readonly memoryBacked?: { readonly size: number };
  /** No name leads to it any more; only mappings keep it. Default false. */
  readonly deleted?: boolean;
}

export class SimulatedFile {
  readonly id: number;
  readonly #parts: MachineParts;
  #open = true;

  constructor(machine: MachineParts, id: number) {
    this.#parts = machine;
    this.id = id;
  }

  /** MACHINE_CLOSED once it is. */
  get #machine(): MachineParts {
    this.#parts.threads.assertOpen();
    return this.#parts;
  }

  get path(): string {
    return this.#machine.files.pathText(this.id);
  }

  /** Bytes. */
  get size(): number {
    return this.#machine.files.size(this.id);
  }

  get isDeleted(): boolean {
    return (this.#machine.files.kind(this.id) & FILE_KIND.DELETED) !== 0;
  }

  get isMemoryBacked(): boolean {
    return (this.#machine.files.kind(this.id) & FILE_KIND.MEMORY) !== 0;
  }

  /** Removes the name (unlink): mappings go on, and from now on the content is theirs to keep. */
  unlink(): void {
    this.#machine.files.markDeleted(this.id);
  }

  /** Gives this object's reference back. A deleted file goes with its last mapping. */
  close(): void {
    if (this.#parts.threads.isClosed) return; // it went with its machine
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

/** Creates a simulated file; returns its id. */
export function createFile(machine: MachineParts, options: FileOptions): number {
  const { content, memoryBacked, deleted = false } = options;
  if ((content === undefined) === (memoryBacked === undefined)) {
    throw new MmdumpError('OPTION_INVALID', "a file needs either 'content' or 'memoryBacked'");
  }
  const path = Buffer.from(options.path);
  if (path.length === 0 || path.includes(0)) {
    throw new MmdumpError('OPTION_INVALID', 'the path of a file is empty or holds a NUL');
  }
  const kind = (deleted ? FILE_KIND.DELETED : 0) | (memoryBacked ? FILE_KIND.MEMORY : 0);
  if (memoryBacked !== undefined) {
    const { size } = memoryBacked;
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new MmdumpError('OPTION_INVALID', `size of a file: ${size}: expected bytes`);
    }
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
