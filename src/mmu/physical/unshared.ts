/**
 * Adopted memory that is not shared: an ordinary WebAssembly.Memory, or an ArrayBuffer. A thread
 * cannot post it to another one, so only the thread that created the machine reaches its bytes. In
 * every other thread, the part of the handle that stands for it has no memory. Its frames have
 * numbers, page structs and entries like all others.
 *
 * The memory may grow. Growing detaches the ArrayBuffer of a WebAssembly.Memory, and another one
 * shows the same bytes. So the views are made anew when they are found to be detached. What the
 * memory has gained is no part of the machine.
 */
import { isInstance } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf } from '../../shared/page.ts';
import { Memory } from '../../shared/wasm.ts';

/** A WebAssembly.Memory that is not shared. `buffer` is another object after the memory has grown. */
export interface PrivateMemory {
  readonly buffer: ArrayBuffer;
}

/** Memory that is not shared. */
export type UnsharedMemory = PrivateMemory | ArrayBuffer;

/** One bank of frames in memory that is not shared, as the thread that owns the memory sees it. */
export class UnsharedBank {
  readonly #memory: UnsharedMemory;
  readonly #at: number;
  readonly #length: number;
  #bytes = new Uint8Array();
  #words = new Int32Array();

  /** `at`: the byte of the memory at which the bank begins. */
  constructor(memory: UnsharedMemory, at: number, pages: number) {
    this.#memory = memory;
    this.#at = at;
    this.#length = addressOf(pages);
  }

  /** The bytes of the bank. `bank` names it in the BANK_UNREACHABLE that this throws if it shrank. */
  bytes(bank: number): Uint8Array {
    if (this.#bytes.byteLength === 0) this.#view(bank);
    return this.#bytes;
  }

  /** The words of the bank. Throws as `bytes` does. */
  words(bank: number): Int32Array {
    if (this.#words.byteLength === 0) this.#view(bank);
    return this.#words;
  }

  #view(bank: number): void {
    const buffer = isInstance(this.#memory, ArrayBuffer) ? this.#memory : this.#memory.buffer;
    const { byteLength } = buffer;
    const end = this.#at + this.#length;
    if (byteLength < end) {
      throw new MmdumpError(
        'BANK_UNREACHABLE',
        `bank ${bank} of the machine: its memory has ${byteLength} bytes left, expected ` +
          `${end}: do not transfer or shrink it while a machine has adopted it`,
      );
    }
    this.#bytes = new Uint8Array(buffer, this.#at, this.#length);
    this.#words = new Int32Array(buffer, this.#at, this.#length / 4);
  }
}

/** The error of a thread that does not own the memory of an adopted bank. */
export function notOwned(bank: number): MmdumpError {
  return new MmdumpError(
    'BANK_UNREACHABLE',
    `bank ${bank} of the machine is memory that is not shared, and only the thread that created ` +
      'the machine reaches it: do this there, or give createMachine shared memory',
  );
}

/**
 * The memories that are not shared, by the control block of their machine: for each adopted part of
 * the machine its memory, or null if it is shared. No other thread has them, and an entry lives as
 * long as this thread knows the machine.
 */
const owned = new WeakMap<SharedArrayBuffer, readonly (UnsharedMemory | null)[]>();

/** Keeps the memories of the parts of a machine that this thread has just created. */
export function keepUnshared(
  control: SharedArrayBuffer,
  memories: readonly (UnsharedMemory | null)[],
): void {
  owned.set(control, memories);
}

/** Forgets the memories of a machine that was closed. */
export function dropUnshared(control: SharedArrayBuffer): void {
  owned.delete(control);
}

/** What `keepUnshared` was given. Undefined in other threads than that which created the machine. */
export function unsharedOf(
  control: SharedArrayBuffer,
): readonly (UnsharedMemory | null)[] | undefined {
  return owned.get(control);
}

/** Whether a value that ADOPTABLE has returned is memory that is not shared. */
export function isUnshared(memory: unknown): memory is UnsharedMemory {
  if (isInstance(memory, ArrayBuffer)) return true;
  return isInstance(memory, Memory) && isInstance<ArrayBuffer>(memory.buffer, ArrayBuffer);
}
