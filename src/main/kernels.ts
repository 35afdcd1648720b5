/** Loads what the build has made of src/workers/kernels, once for all dumps of a thread. */
import { readFileSync } from 'node:fs';
import type { KernelModules } from '../shared/kernels.ts';
import { isValidModule, Module } from '../shared/wasm.ts';

let loaded: KernelModules | undefined;

export function loadKernels(): KernelModules {
  loaded ??= load();
  return loaded;
}

function load(): KernelModules {
  const between = read('between');
  return {
    inside: new Module(read('inside')),
    between: isValidModule(between) ? new Module(between) : undefined,
  };
}

function read(name: string): Uint8Array {
  return readFileSync(new URL(`../workers/kernels/${name}.wasm`, import.meta.url));
}
