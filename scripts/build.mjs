// Builds dist from src. Each entry is one file; what several need lies in chunks beside main/index.js:
// to load 240 files, one for each module, took a command twice as long. Declarations stay one a module.
import { rmSync } from 'node:fs';
import { build } from 'esbuild';
import { buildKernels } from './build-kernels.mjs';

const OUT = 'dist';

rmSync(OUT, { recursive: true, force: true }); // no file of an earlier build is ever packed or run
await buildKernels('src/workers/kernels', `${OUT}/workers/kernels`);
await build({
  entryPoints: [
    'src/main/index.ts',
    'src/main/cli/mmdump.ts',
    'src/main/cli/program.ts', // tests run it in their own process
    'src/main/demo/demo.ts',
    'src/main/demo/target.ts',
    'src/workers/tasks.ts',
  ],
  outbase: 'src',
  outdir: OUT,
  // As deep as main/places.ts, which finds other files of dist from where it lies itself.
  chunkNames: 'main/[name]-[hash]',
  bundle: true,
  splitting: true,
  packages: 'external',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  sourcemap: true,
  logLevel: 'warning',
});
