/** The kernels as the build has made them, for tests of what workers do with them. */
import { readFileSync } from 'node:fs';
import { compileKernels } from '../../../src/main/package/kernels.ts';
import type { KernelModules } from '../../../src/shared/kernels.ts';

const FOLDER = new URL('../../../dist/workers/kernels/', import.meta.url);
const all: KernelModules = compiled('');
/** Those of xxh3.wat.mjs. */
export const DIGESTS: KernelModules = compiled('xxh3-');

/** Every way in which workers may have kernels here, by name. */
export const KERNELS: readonly (readonly [string, KernelModules | undefined])[] = [
  ['no kernels', undefined],
  ['kernels inside one memory', { inside: all.inside, between: undefined }],
  ...(all.between === undefined ? [] : [['kernels between memories', all] as const]),
];

function compiled(prefix: string): KernelModules {
  return compileKernels((name) => readFileSync(new URL(`${prefix}${name}.wasm`, FOLDER)));
}
