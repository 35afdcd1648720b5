/**
 * The files that a restore or an import works with. Each file has an open reference from here until
 * its mappings have been made, which take references of their own.
 */

import type { FileFields } from '../files/file-table.ts';
import { cacheContext, putFile } from '../files/page-cache.ts';
import { passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';

/** How the action of `HeldFiles.take` takes files. The ids stay valid until `release`. */
export interface FileTaker {
  /**
   * Creates a file and returns its id. Throws ENOSPC if the store is full, and EMFILE for too many
   * files.
   */
  create(fields: FileFields): number;
  /** Returns the id of the living file with this path, or 0. */
  open(path: Uint8Array): number;
}

export class HeldFiles {
  readonly #machine: MachineParts;
  #ids: number[] = [];

  constructor(machine: MachineParts) {
    this.#machine = machine;
  }

  /** Runs `action` inside the gate. Rejects with AbortError if `signal` fires during the wait. */
  async take<T>(action: (taker: FileTaker) => T, signal?: AbortSignal): Promise<T> {
    const { files } = this.#machine;
    const keep = (id: number): number => {
      if (id !== 0) this.#ids.push(id);
      return id;
    };
    return await passGateAsync(
      this.#machine,
      (thread) =>
        action({
          create: (fields) => keep(files.create(fields, thread)),
          open: (path) => keep(files.open(path, thread)),
        }),
      signal,
    );
  }

  /**
   * Drops all references. Files that nothing else refers to are freed. Nothing is done in a machine
   * that is poisoned.
   */
  async release(): Promise<void> {
    const machine = this.#machine;
    if (this.#ids.length === 0 || machine.threads.isPoisoned) return;
    await passGateAsync(machine, (thread) => {
      const context = cacheContext(machine, thread);
      for (const id of this.#ids) putFile(context, id);
      this.#ids = [];
    });
  }
}
