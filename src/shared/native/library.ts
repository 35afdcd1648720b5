/**
 * The C library of this process, reached through koffi, an optional dependency. Without koffi, on
 * other systems than Linux on x64 and arm64, and with MMDUMP_NATIVE=0 there is none; then every
 * caller takes the way that Node has by itself.
 *
 * koffi is loaded when a thread first asks for a function: that takes 10 to 20 ms per thread.
 */
import { createRequire } from 'node:module';

/** A function of the C library. Integers and addresses are numbers, and so is what it returns. */
export type CFunction = (...args: readonly (number | ArrayBufferView)[]) => number;

/** The parts of koffi that are used here. */
interface Koffi {
  load(path: null): { func(prototype: string): CFunction };
  address(value: ArrayBufferView): bigint;
  errno(): number;
}

interface Library {
  readonly koffi: Koffi;
  readonly functions: Map<string, CFunction>;
  bind(prototype: string): CFunction;
}

const ARCHITECTURES: ReadonlySet<string> = new Set(['x64', 'arm64']);

/** undefined: not looked for yet. null: there is none. */
let library: Library | null | undefined;
let isUsed = false;

/** Whether functions of the C library can be called. The first call of a thread loads koffi. */
export function hasNativeCalls(): boolean {
  library ??= loadLibrary();
  return library !== null;
}

/**
 * The function with this prototype, as koffi writes them, such as `int getpid()`. Precondition:
 * `hasNativeCalls()`.
 */
export function nativeFunction(prototype: string): CFunction {
  const { functions, bind } = libraryOrThrow();
  isUsed = true;
  const known = functions.get(prototype);
  if (known !== undefined) return known;
  const bound = bind(prototype);
  functions.set(prototype, bound);
  return bound;
}

/** Whether this thread has asked for a function so far. This loads nothing. */
export function hasUsedNativeCalls(): boolean {
  return isUsed;
}

/**
 * The address of the first byte of a view, which must not be empty. It stays the same as long as
 * the buffer lives, if the buffer was not made by `new Uint8Array(n)` and the like, which V8 may
 * move. Precondition: `hasNativeCalls()`.
 */
export function addressOfView(view: ArrayBufferView): number {
  return Number(libraryOrThrow().koffi.address(view));
}

/**
 * The errno of the last call of this thread, if that call has failed. Nothing may come between the
 * two. Precondition: `hasNativeCalls()`.
 */
export function lastErrno(): number {
  return libraryOrThrow().koffi.errno();
}

function libraryOrThrow(): Library {
  if (!hasNativeCalls() || library === null || library === undefined) {
    throw new Error('there is no C library to call: hasNativeCalls() has to be asked first');
  }
  return library;
}

function loadLibrary(): Library | null {
  if (process.env.MMDUMP_NATIVE === '0') return null;
  if (process.platform !== 'linux' || !ARCHITECTURES.has(process.arch)) return null;
  try {
    const koffi: Koffi = createRequire(import.meta.url)('koffi');
    const handle = koffi.load(null);
    return { koffi, functions: new Map(), bind: (prototype) => handle.func(prototype) };
  } catch {
    return null; // it is not installed, or its binary does not suit this system
  }
}
