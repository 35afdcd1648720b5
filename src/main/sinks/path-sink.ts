/**
 * The common part of sinks that write files. They are open for one dump at a time, a dump that
 * fails or is stopped leaves nothing behind, and no file is closed while a system call is using it.
 */
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flag, optional, pathname } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import type { FileTarget } from '../../shared/dump/tasks/copy-target.ts';
import { errnoOf, MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { FAULT_PLAN } from '../job/faults.ts';
import { guard } from '../job/guard.ts';
import { inTurn, undoAll } from '../job/settle.ts';
import { type FileCalls, fileCalls } from './file-calls.ts';
import { takeSink } from './one-dump.ts';
import { outputExists, outputFailed, outputRefused } from './output-error.ts';
import { OutputFile, removeNow } from './output-file.ts';
import type { BuiltInTarget, ImageExtent, ImageLength, Sink } from './sink.ts';

/** Options of every sink that writes files. */
export interface PathSinkOptions {
  /**
   * Replaces a file, or a symbolic link itself, that has the name of the output. Default false: a
   * name that is taken is OUTPUT_EXISTS.
   */
  readonly force?: boolean | undefined;
  /**
   * Leaves holes where whole blocks of 4096 bytes of the file are zeros. There is less to write and
   * less on the disk, and a reader sees the same bytes. Default true. There are many such blocks
   * only with `zeroPages: 'copy'`.
   */
  readonly sparse?: boolean | undefined;
  /**
   * Waits until the files and their names are on the disk (fsync) before the dump resolves. Default
   * true. Without it a power failure or a crash of the system may lose the image or damage it, and
   * with `force` what it replaced is lost, too. A crash of this process alone loses nothing.
   */
  readonly sync?: boolean | undefined;
  /** @internal Faults at named points, for tests (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan | undefined;
}

export const PATH_SINK_OPTIONS: Shape<PathSinkOptions> = {
  force: optional(flag),
  sparse: optional(flag),
  sync: optional(flag),
  faults: optional(FAULT_PLAN),
};

/** The files of one dump, from `open` to `commit` or `abort`. */
export class OpenOutput {
  readonly files: OutputFile[] = [];
  isAborted = false;
  readonly #path: string;
  readonly #calls: FileCalls;
  /**
   * The directory of the output. It is opened first: a failure after the work would be too late.
   */
  #directory: FileHandle | undefined;
  /** Calls under way. Nothing interrupts them, and no file is closed before they settle. */
  #busy: Promise<unknown> | undefined;
  /** Calls under way that create or name files. They are quick, and `abort` waits for them. */
  #changing: Promise<unknown> | undefined;

  constructor(path: string, calls: FileCalls) {
    this.#path = path;
    this.#calls = calls;
  }

  async openDirectory(): Promise<void> {
    try {
      this.#directory = await this.#calls.directory(dirname(this.#path));
    } catch (error) {
      throw outputFailed(this.#path, 'cannot be created', error);
    }
  }

  /** Brings the names of files to the disk, which takes an fsync of their directory. */
  async syncDirectory(): Promise<void> {
    await this.#calls.syncDirectory(this.#directory!);
  }

  /** Creates a file under a temporary name, which will have the name `path`. */
  async create(path: string): Promise<void> {
    const file = new OutputFile(path, this.#calls);
    this.files.push(file); // before it exists, so that a clean-up knows its name
    await file.create();
    if (this.isAborted) await file.removeTemporary(); // `abort` may have come before the file did
  }

  /** Settles as `call` does. The files are not closed before that. */
  async during(call: Promise<void>): Promise<void> {
    this.#busy = call.catch(() => {});
    try {
      await call;
    } finally {
      this.#busy = undefined;
    }
  }

  /**
   * Settles as `call` does. `abort` waits for it, so a call that makes several changes has to look
   * at `isAborted` between them.
   */
  async changing(call: Promise<void>): Promise<void> {
    this.#changing = call.catch(() => {});
    try {
      await call;
    } finally {
      this.#changing = undefined;
    }
  }

  /** Removes every temporary name at once, and waits for changes that are under way. */
  async removeTemporaries(): Promise<void> {
    this.isAborted = true;
    const removed = undoAll(this.files.map((file) => file.removeTemporary()));
    // A file whose temporary name is gone cannot get its own name any more.
    await Promise.allSettled([removed, this.#changing]);
    await removed;
  }

  /**
   * Closes the files. If a call is under way it resolves at once and closes them after the call.
   */
  async close(): Promise<void> {
    const busy = this.#busy;
    const closed = this.#closeAll(busy);
    if (busy === undefined) await closed;
  }

  async #closeAll(busy: Promise<unknown> | undefined): Promise<void> {
    await busy;
    await Promise.all(this.files.map((file) => file.close()));
    await this.#directory?.close().catch(() => {});
  }
}

/** A sink that writes files. `fileSink` and `splitSink` make one. */
export abstract class PathSink implements Sink {
  /** The kind of the output: one file, or several. */
  abstract readonly kind: 'file' | 'split';
  /** The path of the image. The parts of an image have it with a number behind it. */
  readonly path: string;
  /** @internal */
  protected readonly force: boolean;
  /** @internal */
  protected readonly sparse: boolean;
  /** @internal */
  protected readonly calls: FileCalls;
  #open: OpenOutput | undefined;
  #forget: () => void = () => {};

  /** @internal */
  constructor(
    path: string,
    { force = false, sparse = true, sync = true, faults }: PathSinkOptions,
  ) {
    this.path = pathname('path', path);
    this.force = force;
    this.sparse = sparse;
    this.calls = fileCalls(faults, sync);
  }

  /** @internal The file that `open` creates, so that an unusable path fails early. */
  protected abstract readonly firstPath: string;
  /** @internal OUTPUT_EXISTS or OUTPUT_FAILED if the output cannot get its name. */
  protected abstract assertReplaceable(): Promise<void>;
  /** @internal Gives the image its name, step by step; it stops once `output.isAborted` is set. */
  protected abstract finish(output: OpenOutput, image: ImageLength): Promise<void>;
  /**
   * Removes files that have their names already, when the dump has failed or was stopped. Temporary
   * files are gone by then.
   *
   * @internal
   */
  protected abstract takeBack(output: OpenOutput): Promise<void>;
  /** Step of a dump: see `Sink`. */
  abstract reserve(extent: ImageExtent): Promise<FileTarget | BuiltInTarget>;

  /**
   * Rejects as the beginning of a dump would, with OUTPUT_EXISTS or OUTPUT_FAILED, and leaves
   * nothing behind. It is meant for a program that does long work before the dump.
   */
  async check(): Promise<void> {
    const giveBack = takeSink(this);
    try {
      await this.open();
      await this.abort();
    } finally {
      giveBack();
    }
  }

  /** Step of a dump: see `Sink`. */
  async open(): Promise<void> {
    if (/\/\.?\.?$|^\.\.?$/.test(this.path)) throw outputRefused(this.path, 'is a directory');
    const output = new OpenOutput(this.path, this.calls);
    await this.assertReplaceable();
    this.#forget = guard(() => this.undoNow(output));
    try {
      await output.openDirectory();
      await output.create(this.firstPath);
      this.#open = output;
    } catch (error) {
      this.#forget();
      await output.close();
      throw error;
    }
  }

  /**
   * OUTPUT_EXISTS if the name is taken, or OUTPUT_FAILED if `force` cannot replace it.
   *
   * @internal
   */
  protected async assertFree(path: string): Promise<void> {
    let found: Stats;
    try {
      found = await this.calls.look(path);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw outputFailed(path, 'cannot be created', error);
    }
    if (!this.force) throw outputExists(path);
    if (!found.isFile() && !found.isSymbolicLink()) {
      throw outputRefused(path, 'is not a regular file');
    }
  }

  /** @internal */
  protected opened(): OpenOutput {
    if (this.#open === undefined) throw new MmdumpError('OUTPUT_FAILED', 'the sink is not open');
    return this.#open;
  }

  /** Step of a dump: see `Sink`. */
  async commit(image: ImageLength): Promise<void> {
    const output = this.opened();
    await output.during(this.finish(output, image));
    if (!output.isAborted) await output.close(); // `abort` can still take the names back meanwhile
    if (!output.isAborted) await this.#release(output);
  }

  /** Removes the files at once, whatever is under way. Rejects only if one stays behind. */
  async abort(): Promise<void> {
    const output = this.#open;
    if (output === undefined) return;
    try {
      await inTurn([() => output.removeTemporaries(), () => this.takeBack(output)]);
    } finally {
      await this.#release(output);
    }
  }

  async #release(output: OpenOutput): Promise<void> {
    this.#open = undefined;
    this.#forget();
    await output.close();
  }

  /** @internal Undoes the dump synchronously, at the end of the process. */
  protected undoNow({ files }: OpenOutput): void {
    for (const { temporary } of files) removeNow(temporary);
  }
}
