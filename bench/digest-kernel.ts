/** Loads the digest kernel that the build has made, for threads that do nothing but digest. */
import { readFileSync } from 'node:fs';
import { Module, type WasmModule } from '../src/shared/wasm.ts';

let kernel: WasmModule | undefined;

/** The module `xxh3-inside`. */
export function digestKernel(): WasmModule {
  const file = new URL('../dist/workers/kernels/xxh3-inside.wasm', import.meta.url);
  kernel ??= new Module(readFileSync(file));
  return kernel;
}
