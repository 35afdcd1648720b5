/** The files of a machine, simulated ones and those of the host, which Machine inherits. */
import { abortSignal, optional, pathname } from '../../shared/arguments/checks.ts';
import type { FileFields } from '../files/file-table.ts';
import { holdGate, passGateAsync } from '../mm/hold.ts';
import {
  type FileOptions,
  fileFields,
  filePath,
  findHostFile,
  findHostFileAsync,
  SimulatedFile,
} from './file.ts';
import { MachineEvents } from './machine-events.ts';

const SIGNAL = optional(abortSignal);

/** What makes files and finds them. */
export abstract class MachineFiles extends MachineEvents {
  /**
   * Creates a simulated file. Close the object when it is not needed any more. Throws
   * OPTION_INVALID, ENOSPC if the store is full, and EMFILE beyond 65 536 files.
   */
  createFile(options: FileOptions): SimulatedFile {
    return this.#newFile(fileFields(options));
  }

  /**
   * Like `createFile`, but waits while the machine is frozen. Rejects with AbortError if `signal`
   * fires during the wait.
   */
  async createFileAsync(options: FileOptions, signal?: AbortSignal): Promise<SimulatedFile> {
    SIGNAL('signal', signal);
    return await this.#newFileAsync(fileFields(options), signal);
  }

  /**
   * Makes a file of the host known to the machine, by its path. It is opened when a page of it is
   * read, and never written. Throws ENOENT if it cannot be found (the field `errno` says why),
   * ENOSPC and EMFILE as `createFile`.
   */
  hostFile(path: string): SimulatedFile {
    return this.#newFile(findHostFile(pathname('path', path)));
  }

  /**
   * Like `hostFile`, but waits while the machine is frozen. Rejects with AbortError if `signal`
   * fires during the wait.
   */
  async hostFileAsync(path: string, signal?: AbortSignal): Promise<SimulatedFile> {
    pathname('path', path);
    SIGNAL('signal', signal);
    return await this.#newFileAsync(await findHostFileAsync(path), signal);
  }

  #newFile(fields: FileFields): SimulatedFile {
    const { parts } = this;
    const id = holdGate(parts, parts.thread, () => parts.files.create(fields, parts.thread));
    return new SimulatedFile(parts, id);
  }

  async #newFileAsync(fields: FileFields, signal?: AbortSignal): Promise<SimulatedFile> {
    const { parts } = this;
    const create = (thread: number): number => parts.files.create(fields, thread);
    return new SimulatedFile(parts, await passGateAsync(parts, create, signal));
  }

  /**
   * Returns the living file with this path, or undefined. If there are several, it returns the one
   * that was created last. The object holds a reference of its own: close it when it is not needed
   * any more.
   */
  lookupFile(path: string | ArrayBufferView): SimulatedFile | undefined {
    const { parts } = this;
    const id = parts.files.open(filePath('path', path), parts.thread);
    return id === 0 ? undefined : new SimulatedFile(parts, id);
  }
}
