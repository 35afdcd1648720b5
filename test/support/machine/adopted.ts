/** Memory of the caller that is not shared. */
import { Memory } from '../../../src/shared/wasm.ts';

/** A WebAssembly.Memory that is not shared. */
export interface PrivateMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

/** Makes one of `pages` pages of 64 KiB, which can grow. */
export function privateMemory(pages: number): PrivateMemory {
  const Private = Memory as unknown as new (_: object) => PrivateMemory;
  return new Private({ initial: pages });
}
