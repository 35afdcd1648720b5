import { MmdumpError } from '../../shared/errors.ts';
import type { FaultPlan } from '../../shared/faults.ts';
import { failMemoryAt } from '../job/faults.ts';

/**
 * The shared tables of a dumper. They are kept from one dump to the next, because memory that was
 * touched before is several times faster than fresh memory. A buffer is replaced when a dump needs
 * a larger one. It contains what the last dump has left there.
 */
export class SharedBuffers {
  readonly #buffers = new Map<string, SharedArrayBuffer>();
  readonly #faults: FaultPlan | undefined;

  constructor(faults?: FaultPlan) {
    this.#faults = faults;
  }

  /** The buffer with this name, of at least `bytes` bytes. Throws ENOMEM. */
  take(name: string, bytes: number): SharedArrayBuffer {
    const kept = this.#buffers.get(name);
    const isFresh = this.#faults !== undefined; // taking a kept buffer could not fail
    if (kept !== undefined && kept.byteLength >= bytes && !isFresh) return kept;
    const fresh = create(name, bytes, this.#faults);
    this.#buffers.set(name, fresh);
    return fresh;
  }

  /** A new buffer of zeros, which the caller keeps. Throws ENOMEM. */
  fresh(name: string, bytes: number): SharedArrayBuffer {
    return create(name, bytes, this.#faults);
  }

  /** Forgets all buffers. */
  clear(): void {
    this.#buffers.clear();
  }
}

function create(name: string, bytes: number, faults: FaultPlan | undefined): SharedArrayBuffer {
  try {
    failMemoryAt('table', faults);
    return new SharedArrayBuffer(Math.max(4096, bytes));
  } catch (error) {
    const message = `not enough memory for the table of ${name} of this dump (${bytes} bytes)`;
    throw new MmdumpError('ENOMEM', message, {}, error);
  }
}
