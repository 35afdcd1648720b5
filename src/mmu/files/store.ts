/**
 * The machine's store, reachable from every thread: paths, contents of simulated files on "disk",
 * auxiliary vectors and notes. It only grows, and its bytes never change, but for the contents of
 * files: write-back changes them, under the file's lock (`write-back.ts`).
 */
import { MmdumpError } from '../../shared/errors.ts';
import { MiB } from '../../shared/page.ts';

export const STORE = {
  END: 0, //   bytes in use, in units of 8; Atomics only
  WORDS: 16,
} as const;

const UNIT = 8; // bytes

export class Store {
  readonly #words: Int32Array; // the control block
  readonly #base: number;
  #bytes: Uint8Array;

  constructor(words: Int32Array, base: number, buffer: SharedArrayBuffer) {
    this.#words = words;
    this.#base = base;
    this.#bytes = new Uint8Array(buffer);
  }

  /** Keeps a copy of `bytes`; returns its place. ENOSPC when the store is full. */
  add(bytes: Uint8Array): number {
    const units = Math.ceil(bytes.length / UNIT);
    const at = Atomics.add(this.#words, this.#base + STORE.END, units) * UNIT;
    if (at < 0 || at + bytes.length > this.#bytes.length) {
      Atomics.sub(this.#words, this.#base + STORE.END, units);
      const size = Math.floor(this.#bytes.length / MiB);
      throw new MmdumpError(
        'ENOSPC',
        `the machine's store of ${size} MiB is full: create it with a larger 'store'`,
      );
    }
    this.#bytes.set(bytes, at);
    return at;
  }

  /** The machine was closed: nobody looks at it any more. */
  letGo(): void {
    this.#bytes = new Uint8Array();
  }

  /** A view of what was added. */
  view(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at, at + length);
  }
}
