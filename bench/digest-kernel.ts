/** The package's digest as the build has made it, for threads that do nothing else. */
import { readFileSync } from 'node:fs';
import { Module, type WasmModule } from '../src/shared/wasm.ts';

let kernel: WasmModule | undefined;

/** xxh3-inside. */
export function digestKernel(): WasmModule {
  const file = new URL('../dist/workers/kernels/xxh3-inside.wasm', import.meta.url);
  kernel ??= new Module(readFileSync(file));
  return kernel;
}
