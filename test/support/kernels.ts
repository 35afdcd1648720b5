/** The kernels as the build has made them, for tests of what workers do with them. */
import { loadKernels } from '../../dist/main/kernels.js';
import type { KernelModules } from '../../src/shared/kernels.ts';

const all: KernelModules = loadKernels();

/** Every way in which workers may have kernels here, by name. */
export const KERNELS: readonly (readonly [string, KernelModules | undefined])[] = [
  ['no kernels', undefined],
  ['kernels inside one memory', { inside: all.inside, between: undefined }],
  ...(all.between === undefined ? [] : [['kernels between memories', all] as const]),
];
