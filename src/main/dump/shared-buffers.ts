import { MmdumpError } from '../../shared/errors.ts';

/**
 * The shared tables of a dumper, kept from dump to dump: memory that was touched before is several
 * times quicker than fresh memory. A buffer is replaced when a dump needs a larger one. Contents
 * are whatever the last dump left.
 */
export class SharedBuffers {
  readonly #buffers = new Map<string, SharedArrayBuffer>();

  /** A buffer of at least `bytes` under this name. */
  take(name: string, bytes: number): SharedArrayBuffer {
    const kept = this.#buffers.get(name);
    if (kept !== undefined && kept.byteLength >= bytes) return kept;
    const fresh = create(name, bytes);
    this.#buffers.set(name, fresh);
    return fresh;
  }

  clear(): void {
    this.#buffers.clear();
  }
}

function create(name: string, bytes: number): SharedArrayBuffer {
  try {
    return new SharedArrayBuffer(Math.max(4096, bytes));
  } catch (error) {
    const message = `no memory for the table of ${name} of this dump, ${bytes} bytes`;
    throw new MmdumpError('ENOMEM', message, {}, error);
  }
}
