/** Loads the kernels that the build has made of src/workers/kernels, once per thread. */
import { readFileSync } from 'node:fs';
import type { KernelModules } from '../../shared/kernels.ts';
import { isValidModule, Module } from '../../shared/wasm.ts';
import { kernelUrl } from './places.ts';

let loaded: KernelModules | undefined;
let digests: KernelModules | undefined;

/** The kernels that copy frames and find zeros: kernels/frames.wat. */
export function loadKernels(): KernelModules {
  loaded ??= compileKernels((name) => readFileSync(kernelUrl(name)));
  return loaded;
}

/** The kernels that compute XXH3-64: kernels/xxh3.wat.mjs. */
export function loadDigestKernels(): KernelModules {
  digests ??= compileKernels((name) => readFileSync(kernelUrl(`xxh3-${name}`)));
  return digests;
}

/** The bytes of the module xxh3-inside, for threads that compile it themselves. */
export function digestKernelBytes(): Uint8Array {
  return readFileSync(kernelUrl('xxh3-inside'));
}

/**
 * Compiles a pair of kernels; `read` returns the bytes of one by its name. Where Node knows only
 * one memory per module (20), `between` is no valid module and stays undefined.
 */
export function compileKernels(read: (name: string) => Uint8Array): KernelModules {
  const between = read('between');
  return {
    inside: new Module(read('inside')),
    between: isValidModule(between) ? new Module(between) : undefined,
  };
}
