/**
 * What sinks that write files have in common: they are open for one dump at a time, whatever fails or
 * is stopped leaves nothing behind, and no file is closed under a call that nothing interrupts.
 */
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flag, optional, pathname } from '../../shared/arguments/checks.ts';
import type { Shape } from '../../shared/arguments/options.ts';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import { errnoOf, MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { FAULT_PLAN } from '../job/faults.ts';
import { guard } from '../job/guard.ts';
import { inTurn, undoAll } from '../job/settle.ts';
import { type FileCalls, fileCalls } from './file-calls.ts';
import { takeSink } from './one-dump.ts';
import { outputExists, outputFailed, outputRefused } from './output-error.ts';
import { OutputFile, removeNow } from './output-file.ts';
import type { ImageExtent, ImageLength, Sink } from './sink.ts';

/** Options of every sink that writes files. */
export interface PathSinkOptions {
  /** Replace what is there. Default false: OUTPUT_EXISTS. */
  readonly force?: boolean | undefined;
  /**
   * Leaves holes where whole blocks of 4096 bytes of the file are zeros: less to write, less on the
   * disk, the same bytes for whoever reads. Default true; there are many only with zeroPages: 'copy'.
   */
  readonly sparse?: boolean | undefined;
  /** @internal For tests of failures: faults at named points (docs/RELIABILITY.md). Default: none. */
  readonly faults?: FaultPlan | undefined;
}

export const PATH_SINK_OPTIONS: Shape<PathSinkOptions> = {
  force: optional(flag),
  sparse: optional(flag),
  faults: optional(FAULT_PLAN),
};

/** What is open from `open` to `commit` or `abort`. */
export class OpenOutput {
  readonly files: OutputFile[] = [];
  isAborted = false;
  readonly #path: string;
  readonly #calls: FileCalls;
  /** Opened before all else: a failure after the work would be too late. */
  #directory: FileHandle | undefined;
  /** Calls under way, which nothing interrupts: no file is closed under them. */
  #busy: Promise<unknown> | undefined;
  /** While files are created or get their names: quick, and `abort` needs to know what is there. */
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

  /** Names that were given are on the disk only when their directory is. */
  async syncDirectory(): Promise<void> {
    await this.#calls.syncDirectory(this.#directory!);
  }

  /** A file under a temporary name, which will be called `path`. */
  async create(path: string): Promise<void> {
    const file = new OutputFile(path, this.#calls);
    this.files.push(file); // before it is there, so that whoever cleans up knows its name
    await file.create();
    if (this.isAborted) await file.removeTemporary(); // `abort` may have been too early for it
  }

  /** Settles as `call` does, and lets nobody close the files before. */
  async during(call: Promise<void>): Promise<void> {
    this.#busy = call.catch(() => {});
    try {
      await call;
    } finally {
      this.#busy = undefined;
    }
  }

  /** As `during`; `abort` waits for it, so whoever makes several changes looks at isAborted. */
  async changing(call: Promise<void>): Promise<void> {
    this.#changing = call.catch(() => {});
    try {
      await call;
    } finally {
      this.#changing = undefined;
    }
  }

  /** Removes every temporary name, whatever is under way, and waits for changes that are. */
  async removeTemporaries(): Promise<void> {
    this.isAborted = true;
    const removed = undoAll(this.files.map((file) => file.removeTemporary()));
    await Promise.allSettled([removed, this.#changing]); // a name that is gone cannot be changed
    await removed;
  }

  /** Closes what is open; resolves at once if that has to wait for a call, and closes then. */
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

/** A sink that writes files. */
export abstract class PathSink implements Sink {
  /** What it writes to. */
  abstract readonly kind: 'file' | 'split';
  /** Where the image will lie. */
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
  constructor(path: string, { force = false, sparse = true, faults }: PathSinkOptions) {
    this.path = pathname('path', path);
    this.force = force;
    this.sparse = sparse;
    this.calls = fileCalls(faults);
  }

  /** @internal The file that is created at once, so that whatever is wrong with the place is known. */
  protected abstract readonly firstPath: string;
  /** @internal OUTPUT_EXISTS, or what else keeps the output from getting its name. */
  protected abstract assertReplaceable(): Promise<void>;
  /** @internal Makes the image appear, step by step, until `output.isAborted`. */
  protected abstract finish(output: OpenOutput, image: ImageLength): Promise<void>;
  /** @internal The dump has failed or is stopped; temporary files are gone: takes back whatever has its name. */
  protected abstract takeBack(output: OpenOutput): Promise<void>;
  /** @internal */
  abstract reserve(extent: ImageExtent): Promise<CopyTarget>;

  /** Fails as `open` would, and leaves nothing: for whoever has long work to do before a dump. */
  async check(): Promise<void> {
    const giveBack = takeSink(this);
    try {
      await this.open();
      await this.abort();
    } finally {
      giveBack();
    }
  }

  /** @internal */
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

  /** @internal OUTPUT_EXISTS where there is something of this name that may not, or cannot, be replaced. */
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

  /** @internal */
  async commit(image: ImageLength): Promise<void> {
    const output = this.opened();
    await output.during(this.finish(output, image));
    if (!output.isAborted) await output.close(); // an abort meanwhile still takes the names back
    if (!output.isAborted) await this.#release(output);
  }

  /** @internal Removes what there is, at once, whatever is under way; fails only if something stays behind. */
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

  /** @internal For the end of the process. */
  protected undoNow({ files }: OpenOutput): void {
    for (const { temporary } of files) removeNow(temporary);
  }
}
