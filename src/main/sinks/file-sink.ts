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
  /**
   * Leaves holes where whole blocks of 4096 bytes of the file are zeros: less to write, less on the
   * disk, the same bytes for whoever reads. Default true; there are many only with zeroPages: 'copy'.
   */
  readonly sparse?: boolean;
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
  /** The call under way, which nothing interrupts: no file is closed under it. */
  busy: Promise<void> | undefined;
  /** While the image gets its name, and after. */
  naming: Promise<void> | undefined;
  isNamed: boolean;
  isAborted: boolean;
}

export class FileSink implements Sink {
  readonly kind = 'file';
  readonly path: string;
  readonly #force: boolean;
  readonly #sparse: boolean;
  readonly #calls: FileCalls;
  #open: OpenOutput | undefined;
  /** From the first step of `open` on: two callers must not both go on after a first look. */
  #isTaken = false;

  constructor(path: string, { force = false, sparse = true, faults }: FileSinkOptions) {
    this.path = path;
    this.#force = force;
    this.#sparse = sparse;
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
      const idle = { busy: undefined, naming: undefined, isNamed: false, isAborted: false };
      return { directory, temporary, handle, forget, ...idle };
    } catch (error) {
      forget();
      await directory?.close().catch(() => {}); // the error says what matters
      throw this.#failure('cannot be created', error);
    }
  }

  async reserve({ bytes }: ImageExtent): Promise<CopyTarget> {
    const output = this.#opened();
    const { handle } = output;
    try {
      await during(output, this.#calls.reserve(handle, bytes));
    } catch (error) {
      throw this.#failure(`cannot be given ${bytes} bytes`, error);
    }
    return { kind: 'file', fd: handle.fd, path: this.path, sparse: this.#sparse };
  }

  async commit(): Promise<void> {
    const output = this.#opened();
    await during(output, this.#commit(output));
    if (!output.isAborted) await this.#release(output);
  }

  /** Where it was aborted meanwhile, it does nothing more: `abort` settles everything. */
  async #commit(output: OpenOutput): Promise<void> {
    const { handle, temporary, directory } = output;
    try {
      await this.#calls.sync(handle);
      if (output.isAborted) return;
      output.naming = this.#appear(temporary).then(() => {
        output.isNamed = true;
      });
      await output.naming;
      if (output.isAborted) return;
      await this.#calls.syncDirectory(directory); // the new name is on the disk only when its directory is
    } catch (error) {
      if (output.isAborted || error instanceof MmdumpError) throw error;
      if (!output.isNamed) throw this.#failure('cannot be committed', error);
      output.isNamed = false; // what is to be said and done about it is said and done here
      if (this.#force) {
        throw this.#failure('is whole, but its directory cannot be written to the disk', error);
      }
      await this.#calls.remove(this.path).catch(() => {}); // the error says what matters
      throw this.#failure('cannot be committed: its directory cannot be written', error);
    }
  }

  /**
   * Removes what there is, at once, whatever is under way; fails only if a file stays behind. That is
   * so, too, if the image has replaced another one already, and only its directory is not written.
   */
  async abort(): Promise<void> {
    const output = this.#open;
    if (output === undefined) return;
    output.isAborted = true;
    try {
      await this.#calls.remove(output.temporary).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return;
        throw this.#failure(`leaves ${output.temporary} behind`, error);
      });
      await output.naming?.catch(() => {}); // without its temporary name it fails, or it is done
      if (output.isNamed) await this.#takeBack();
    } finally {
      await this.#release(output);
    }
  }

  /** The image has its name, and must not have it. */
  async #takeBack(): Promise<void> {
    const { path } = this;
    if (this.#force) {
      const message = `${path} is whole and has its name; its directory may not be on the disk yet`;
      throw new MmdumpError('OUTPUT_FAILED', message, { path, reason: 'stopped' });
    }
    try {
      await this.#calls.remove(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw this.#failure('is left behind', error);
    }
  }

  /** Closes what is open, or will as soon as it can; whether that works changes nothing any more. */
  async #release(output: OpenOutput): Promise<void> {
    this.#open = undefined;
    output.forget();
    const closed = closeAll(output);
    if (output.busy === undefined) await closed;
    this.#isTaken = false;
  }

  /** Gives the file its name, never replacing what is not to be replaced. */
  async #appear(temporary: string): Promise<void> {
    if (this.#force) {
      await this.#calls.rename(temporary, this.path);
      return;
    }
    try {
      await this.#calls.link(temporary, this.path);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw this.#existsError();
      if (!NO_LINKS.has(errnoOf(error))) throw error;
      await this.#takeName(temporary);
      return;
    }
    try {
      await this.#calls.remove(temporary);
    } catch (error) {
      await this.#calls.remove(this.path).catch(() => {}); // two names or none
      throw error;
    }
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

/** Settles as `call` does, and lets nobody close the files before. */
async function during(output: OpenOutput, call: Promise<void>): Promise<void> {
  output.busy = call.catch(() => {});
  try {
    await call;
  } finally {
    output.busy = undefined;
  }
}

async function closeAll({ busy, handle, directory }: OpenOutput): Promise<void> {
  await busy;
  await handle.close().catch(() => {});
  await directory.close().catch(() => {});
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
