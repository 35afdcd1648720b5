/**
 * An image as a file. It is written under a temporary name in the same directory and appears under
 * its own only when it is whole and on the disk: write, fsync, rename, fsync of the directory.
 * Only its owner may read it: memory holds secrets.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, link, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { Sink } from './sink.ts';
import { forgetTemporaryFile, trackTemporaryFile } from './temporary-files.ts';

export interface FileSinkOptions {
  /** Replace an existing file. Default false: OUTPUT_EXISTS. */
  readonly force?: boolean;
}

const OWNER_ONLY = 0o600;
/** Errors of link(2) on file systems that have no hard links. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK']);

export class FileSink implements Sink {
  readonly kind = 'file';
  readonly path: string;
  readonly #force: boolean;
  #temporary = '';
  #handle: FileHandle | undefined;

  constructor(path: string, force: boolean) {
    this.path = path;
    this.#force = force;
  }

  /** OUTPUT_EXISTS if a dump into this sink would be refused. `open` asks again. */
  async assertFree(): Promise<void> {
    await this.#assertReplaceable();
  }

  async open(): Promise<void> {
    await this.#assertReplaceable();
    const suffix = `${process.pid}-${randomBytes(6).toString('hex')}`;
    const temporary = join(dirname(this.path), `.${basename(this.path)}.${suffix}.tmp`);
    try {
      this.#handle = await open(temporary, 'wx', OWNER_ONLY);
    } catch (error) {
      throw this.#failure('cannot be created', error);
    }
    this.#temporary = temporary;
    trackTemporaryFile(temporary);
  }

  async reserve(bytes: number): Promise<CopyTarget> {
    const handle = this.#openHandle();
    try {
      await handle.truncate(bytes);
    } catch (error) {
      throw this.#failure(`cannot be given ${bytes} bytes`, error);
    }
    return { kind: 'file', fd: handle.fd, path: this.path };
  }

  async commit(): Promise<void> {
    const handle = this.#openHandle();
    try {
      await handle.sync();
      this.#handle = undefined;
      await handle.close();
      await this.#appear();
      await syncDirectory(dirname(this.path));
    } catch (error) {
      if (error instanceof MmdumpError) throw error;
      throw this.#failure('cannot be committed', error);
    }
  }

  async abort(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    if (this.#temporary === '') return;
    await unlink(this.#temporary).catch(ignoreMissing);
    forgetTemporaryFile(this.#temporary);
    this.#temporary = '';
  }

  /** Gives the file its name, without ever replacing one that is not to be replaced. */
  async #appear(): Promise<void> {
    if (this.#force) await rename(this.#temporary, this.path);
    else await this.#linkOrRename();
    forgetTemporaryFile(this.#temporary);
    this.#temporary = '';
  }

  async #linkOrRename(): Promise<void> {
    try {
      await link(this.#temporary, this.path);
      await unlink(this.#temporary);
      return;
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw this.#existsError();
      if (!NO_LINKS.has(errnoOf(error))) throw error;
    }
    // No hard links here: take the name first, then replace what we took it with.
    try {
      await (await open(this.path, 'wx', OWNER_ONLY)).close();
    } catch (error) {
      throw errnoOf(error) === 'EEXIST' ? this.#existsError() : error;
    }
    try {
      await rename(this.#temporary, this.path);
    } catch (error) {
      await unlink(this.path);
      throw error;
    }
  }

  async #assertReplaceable(): Promise<void> {
    const found = await lstat(this.path).catch(ignoreMissing);
    if (found === undefined) return;
    if (!this.#force) throw this.#existsError();
    if (!found.isFile() && !found.isSymbolicLink()) {
      throw new MmdumpError('OUTPUT_FAILED', `${this.path} is not a regular file`, {
        path: this.path,
      });
    }
  }

  #openHandle(): FileHandle {
    if (this.#handle === undefined) throw new MmdumpError('OUTPUT_FAILED', 'the sink is not open');
    return this.#handle;
  }

  #existsError(): MmdumpError {
    const { path } = this;
    return new MmdumpError('OUTPUT_EXISTS', `${path} exists already: use force to replace it`, {
      path,
    });
  }

  #failure(what: string, error: unknown): MmdumpError {
    const { path } = this;
    const reason = reasonOf(error);
    const fields = { path, reason, errno: errnoOf(error) ?? 'EIO' };
    return new MmdumpError('OUTPUT_FAILED', `${path} ${what}: ${reason}`, fields, error);
  }
}

function ignoreMissing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR') throw error;
  return undefined;
}

/** The new name is on the disk only when its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

export function fileSink(path: string, options: FileSinkOptions = {}): FileSink {
  return new FileSink(path, options.force ?? false);
}
