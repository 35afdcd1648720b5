/**
 * The files that a restore or an import works with: each has an open reference from here until its
 * mappings, which have references of their own, are there.
 */

import type { FileFields } from '../files/file-table.ts';
import { cacheContext, putFile } from '../files/page-cache.ts';
import { passGateAsync } from '../mm/hold.ts';
import type { MachineParts } from '../mm/machine-parts.ts';

/** What `HeldFiles.take` can do inside the gate. The ids stay those of the files until `letGo`. */
export interface FileTaker {
  create(fields: FileFields): number;
  /** The living file with this path, or 0. */
  open(path: Uint8Array): number;
}

export class HeldFiles {
  readonly #machine: MachineParts;
  #ids: number[] = [];

  constructor(machine: MachineParts) {
    this.#machine = machine;
  }

  /** Runs `action` inside the gate. AbortError when `signal` fires while it waits. ENOSPC, EMFILE. */
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

  /** Drops all references. Files without a mapping are gone then. */
  async letGo(): Promise<void> {
    const machine = this.#machine;
    if (this.#ids.length === 0 || machine.threads.isPoisoned) return;
    await passGateAsync(machine, (thread) => {
      const context = cacheContext(machine, thread);
      for (const id of this.#ids) putFile(context, id);
      this.#ids = [];
    });
  }
}
