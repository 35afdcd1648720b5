/** The kernels that the build made, for tests of how workers use them. */
import { readFileSync } from 'node:fs';
import { compileKernels } from '../../../src/main/package/kernels.ts';
import type { KernelModules } from '../../../src/shared/kernels.ts';

const FOLDER = new URL('../../../dist/workers/kernels/', import.meta.url);
const all: KernelModules = compiled('');
/** The kernels of xxh3.wat.mjs. */
export const DIGESTS: KernelModules = compiled('xxh3-');

/** The kernels that workers may have on this computer, by name. */
export const KERNELS: readonly (readonly [string, KernelModules | undefined])[] = [
  ['no kernels', undefined],
  ['kernels inside one memory', { inside: all.inside, between: undefined }],
  ...(all.between === undefined ? [] : [['kernels between memories', all] as const]),
];

function compiled(prefix: string): KernelModules {
  return compileKernels((name) => readFileSync(new URL(`${prefix}${name}.wasm`, FOLDER)));
}
