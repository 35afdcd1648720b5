/** Loads what the build has made of src/workers/kernels, once for all dumps of a thread. */
import { readFileSync } from 'node:fs';
import type { KernelModules } from '../../shared/kernels.ts';
import { isValidModule, Module } from '../../shared/wasm.ts';
import { kernelUrl } from './places.ts';

let loaded: KernelModules | undefined;
let digests: KernelModules | undefined;

/** Copies and zero tests: kernels/frames.wat. */
export function loadKernels(): KernelModules {
  loaded ??= compileKernels((name) => readFileSync(kernelUrl(name)));
  return loaded;
}

/** Digests: kernels/xxh3.wat.mjs. */
export function loadDigestKernels(): KernelModules {
  digests ??= compileKernels((name) => readFileSync(kernelUrl(`xxh3-${name}`)));
  return digests;
}

/** `read`: the bytes of a kernel by its name. */
export function compileKernels(read: (name: string) => Uint8Array): KernelModules {
  const between = read('between');
  return {
    inside: new Module(read('inside')),
    between: isValidModule(between) ? new Module(between) : undefined,
  };
}
