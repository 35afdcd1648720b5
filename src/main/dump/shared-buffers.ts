import { MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { failMemoryAt } from '../job/faults.ts';

/**
 * The shared tables of a dumper, kept from dump to dump: memory that was touched before is several
 * times quicker than fresh memory. A buffer is replaced when a dump needs a larger one. Contents
 * are whatever the last dump left.
 */
export class SharedBuffers {
  readonly #buffers = new Map<string, SharedArrayBuffer>();
  readonly #faults: FaultPlan | undefined;

  constructor(faults?: FaultPlan) {
    this.#faults = faults;
  }

  /** A buffer of at least `bytes` under this name. */
  take(name: string, bytes: number): SharedArrayBuffer {
    const kept = this.#buffers.get(name);
    const isFresh = this.#faults !== undefined; // what is kept cannot fail
    if (kept !== undefined && kept.byteLength >= bytes && !isFresh) return kept;
    const fresh = create(name, bytes, this.#faults);
    this.#buffers.set(name, fresh);
    return fresh;
  }

  clear(): void {
    this.#buffers.clear();
  }
}

function create(name: string, bytes: number, faults: FaultPlan | undefined): SharedArrayBuffer {
  try {
    failMemoryAt('table', faults);
    return new SharedArrayBuffer(Math.max(4096, bytes));
  } catch (error) {
    const message = `no memory for the table of ${name} of this dump, ${bytes} bytes`;
    throw new MmdumpError('ENOMEM', message, {}, error);
  }
}
