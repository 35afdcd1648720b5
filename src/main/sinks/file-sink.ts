/**
 * An image as a file. It is written under a temporary name in the same directory and appears under
 * its own only when it is whole and on the disk: write, fsync, rename, fsync of the directory.
 * Only its owner may read it: memory holds secrets.
 */
import { randomBytes } from 'node:crypto';
import { type Stats, unlinkSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import { errnoOf, MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { guard } from '../guard.ts';
import { type FileCalls, fileCalls } from './file-calls.ts';
import type { ImageExtent, Sink } from './sink.ts';

export interface FileSinkOptions {
  /** Replace an existing file. Default false: OUTPUT_EXISTS. */
  readonly force?: boolean;
  /** For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan;
}

/** Errors of link(2) on file systems that have no hard links. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK']);

/** What is open from `open` to `commit` or `abort`. */
interface OpenOutput {
  readonly directory: FileHandle;
  readonly temporary: string;
  readonly handle: FileHandle;
  /** The temporary file is gone: the end of the process need not remove it. */
  readonly forget: () => void;
}

export class FileSink implements Sink {
  readonly kind = 'file';
  readonly path: string;
  readonly #force: boolean;
  readonly #calls: FileCalls;
  #open: OpenOutput | undefined;
  /** From the first step of `open` on: two callers must not both go on after a first look. */
  #isTaken = false;

  constructor(path: string, { force = false, faults }: FileSinkOptions) {
    this.path = path;
    this.#force = force;
    this.#calls = fileCalls(faults);
  }

  /** Fails as `open` would, and leaves nothing: for whoever has long work to do before a dump. */
  async check(): Promise<void> {
    await this.open();
    await this.abort();
  }

  async open(): Promise<void> {
    // Two dumps into one sink would write into each other's file.
    if (this.#isTaken) throw this.#refusal('is being written by another dump');
    this.#isTaken = true;
    try {
      this.#open = await this.#create();
    } catch (error) {
      this.#isTaken = false;
      throw error;
    }
  }

  async #create(): Promise<OpenOutput> {
    if (this.path === '') {
      throw new MmdumpError('OPTION_INVALID', "output: '': expected the path of a file");
    }
    if (/\/\.?\.?$|^\.\.?$/.test(this.path)) throw this.#refusal('is a directory');
    await this.#assertReplaceable();
    const name = `.mmdump-${randomBytes(8).toString('hex')}.tmp`;
    const temporary = join(dirname(this.path), name);
    const forget = guard(() => removeNow(temporary));
    let directory: FileHandle | undefined;
    try {
      // Whatever the end will need is opened now: a failure after the work would be too late.
      directory = await this.#calls.directory(dirname(this.path));
      const handle = await this.#calls.create(temporary);
      return { directory, temporary, handle, forget };
    } catch (error) {
      forget();
      await directory?.close().catch(() => {}); // the error says what matters
      throw this.#failure('cannot be created', error);
    }
  }

  async reserve({ bytes }: ImageExtent): Promise<CopyTarget> {
    const { handle } = this.#opened();
    try {
      await this.#calls.reserve(handle, bytes);
    } catch (error) {
      throw this.#failure(`cannot be given ${bytes} bytes`, error);
    }
    return { kind: 'file', fd: handle.fd, path: this.path };
  }

  async commit(): Promise<void> {
    const { handle, temporary, directory } = this.#opened();
    let isThere = false;
    try {
      await this.#calls.sync(handle);
      isThere = await this.#appear(temporary);
      await this.#calls.syncDirectory(directory); // the new name is on the disk only when its directory is
    } catch (error) {
      if (error instanceof MmdumpError) throw error;
      if (!isThere) throw this.#failure('cannot be committed', error);
      if (this.#force) {
        throw this.#failure('is whole, but its directory cannot be written to the disk', error);
      }
      await this.#calls.remove(this.path).catch(() => {}); // the error says what matters
      throw this.#failure('cannot be committed: its directory cannot be written', error);
    }
    await this.#release();
  }

  /** Removes what there is; fails only if a file stays behind. */
  async abort(): Promise<void> {
    const temporary = this.#open?.temporary;
    if (temporary === undefined) return;
    try {
      await this.#calls.remove(temporary);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw this.#failure(`leaves ${temporary} behind`, error);
    } finally {
      await this.#release();
    }
  }

  /** Closes what is open; whether that works changes nothing any more. */
  async #release(): Promise<void> {
    const output = this.#open;
    this.#open = undefined;
    output?.forget();
    await output?.handle.close().catch(() => {});
    await output?.directory.close().catch(() => {});
    this.#isTaken = false;
  }

  /** Gives the file its name, never replacing what is not to be replaced. True: it has it now. */
  async #appear(temporary: string): Promise<boolean> {
    if (this.#force) {
      await this.#calls.rename(temporary, this.path);
      return true;
    }
    try {
      await this.#calls.link(temporary, this.path);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw this.#existsError();
      if (!NO_LINKS.has(errnoOf(error))) throw error;
      await this.#takeName(temporary);
      return true;
    }
    try {
      await this.#calls.remove(temporary);
    } catch (error) {
      await this.#calls.remove(this.path).catch(() => {}); // two names or none
      throw error;
    }
    return true;
  }

  /** Without hard links: takes the name with an empty file first, then replaces that. */
  async #takeName(temporary: string): Promise<void> {
    try {
      await (await this.#calls.create(this.path)).close();
    } catch (error) {
      throw errnoOf(error) === 'EEXIST' ? this.#existsError() : error;
    }
    try {
      await this.#calls.rename(temporary, this.path);
    } catch (error) {
      await this.#calls.remove(this.path).catch(() => {}); // the error says what matters
      throw error;
    }
  }

  async #assertReplaceable(): Promise<void> {
    let found: Stats;
    try {
      found = await this.#calls.look(this.path);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw this.#failure('cannot be created', error);
    }
    if (!this.#force) throw this.#existsError();
    if (!found.isFile() && !found.isSymbolicLink()) throw this.#refusal('is not a regular file');
  }

  #opened(): OpenOutput {
    if (this.#open === undefined) throw new MmdumpError('OUTPUT_FAILED', 'the sink is not open');
    return this.#open;
  }

  #existsError(): MmdumpError {
    const { path } = this;
    return new MmdumpError('OUTPUT_EXISTS', `${path} exists already: use force to replace it`, {
      path,
    });
  }

  #refusal(what: string): MmdumpError {
    const { path } = this;
    return new MmdumpError('OUTPUT_FAILED', `${path} ${what}`, { path });
  }

  #failure(what: string, error: unknown): MmdumpError {
    const { path } = this;
    const reason = reasonOf(error);
    const fields = { path, reason, errno: errnoOf(error) ?? 'EIO' };
    return new MmdumpError('OUTPUT_FAILED', `${path} ${what}: ${reason}`, fields, error);
  }
}

/** For the end of the process. */
function removeNow(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is gone already, or cannot be removed at all.
  }
}

export function fileSink(path: string, options: FileSinkOptions = {}): FileSink {
  return new FileSink(path, options);
}
