/**
 * One file of an output. It is written under a temporary name in its directory, and gets its own
 * name when it is whole. Only its owner may read it, since memory holds secrets.
 */
import { randomBytes } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { assert } from '../../shared/assert.ts';
import { errnoOf, MmdumpError } from '../../shared/errors.ts';
import type { FileCalls } from './file-calls.ts';
import { outputExists, outputFailed } from './output-error.ts';

/** Errors of link(2) on file systems that have no hard links. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK']);

/** The beginning of a temporary name in the directory of `path`, with 8 random bytes. */
export function temporaryStem(path: string): string {
  return join(dirname(path), `.mmdump-${randomBytes(8).toString('hex')}`);
}

export class OutputFile {
  /** The name that the file will have. */
  readonly path: string;
  /** The name under which it is written. */
  readonly temporary: string;
  /** The file has its name: `appear` has resolved, or has failed and could not remove the name. */
  isNamed = false;
  readonly #calls: FileCalls;
  #handle: FileHandle | undefined;

  constructor(path: string, calls: FileCalls) {
    this.path = path;
    this.temporary = `${temporaryStem(path)}.tmp`;
    this.#calls = calls;
  }

  get fd(): number {
    return this.#opened.fd;
  }

  get #opened(): FileHandle {
    assert(this.#handle !== undefined, 'a file is used before it is created');
    return this.#handle;
  }

  async create(): Promise<void> {
    try {
      this.#handle = await this.#calls.create(this.temporary);
    } catch (error) {
      throw outputFailed(this.path, 'cannot be created', error);
    }
  }

  async reserve(bytes: number): Promise<void> {
    try {
      await this.#calls.reserve(this.#opened, bytes);
    } catch (error) {
      throw outputFailed(this.path, `cannot be given ${bytes} bytes`, error);
    }
  }

  async sync(): Promise<void> {
    try {
      await this.#calls.sync(this.#opened);
    } catch (error) {
      throw outputFailed(this.path, 'cannot be committed', error);
    }
  }

  /** Gives the file its name. If the name is taken, `force` replaces it, else OUTPUT_EXISTS. */
  async appear(force: boolean): Promise<void> {
    try {
      if (force) await this.#calls.rename(this.temporary, this.path);
      else await this.#link();
    } catch (error) {
      if (error instanceof MmdumpError) throw error;
      throw outputFailed(this.path, 'cannot be committed', error);
    }
    this.isNamed = true;
  }

  async #link(): Promise<void> {
    try {
      await this.#calls.link(this.temporary, this.path);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw outputExists(this.path);
      if (!NO_LINKS.has(errnoOf(error))) throw error;
      await this.#takeName();
      return;
    }
    try {
      await this.#calls.remove(this.temporary);
    } catch (error) {
      await this.#removeName(); // the file must not stay with two names
      throw error;
    }
  }

  /** Without hard links, takes the name with an empty file first, then replaces that file. */
  async #takeName(): Promise<void> {
    try {
      await (await this.#calls.create(this.path)).close();
    } catch (error) {
      throw errnoOf(error) === 'EEXIST' ? outputExists(this.path) : error;
    }
    try {
      await this.#calls.rename(this.temporary, this.path);
    } catch (error) {
      await this.#removeName();
      throw error;
    }
  }

  /**
   * Removes the name. If that fails, `isNamed` is set, and `takeBack` tries again and reports it.
   */
  async #removeName(): Promise<void> {
    this.isNamed = await this.#calls.remove(this.path).then(
      () => false,
      () => true,
    );
  }

  /** Removes the temporary name, if it is there. */
  async removeTemporary(): Promise<void> {
    try {
      await this.#calls.remove(this.temporary);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw outputFailed(this.path, `leaves ${this.temporary} behind`, error);
    }
  }

  /** Removes the name of the file, when the dump has failed after `appear`. */
  async takeBack(): Promise<void> {
    try {
      await this.#calls.remove(this.path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw outputFailed(this.path, 'is left behind', error);
    }
    this.isNamed = false;
  }

  /** Best effort: either `sync` has brought everything to the disk, or the dump has failed. */
  async close(): Promise<void> {
    await this.#handle?.close().catch(() => {});
  }
}

/** Removes a file synchronously, at the end of the process. */
export function removeNow(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // The file is gone already, or it cannot be removed at all.
  }
}
