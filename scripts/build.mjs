// Builds dist from src. Each entry is one file, and code that several entries need lies in chunks
// beside main/index.js: with one file per module, 240 in all, a command took twice as long to load.
// Declarations stay one file per module.
import { rmSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { build } from 'rolldown';
import { buildKernels } from './build-kernels.mjs';

const OUT = 'dist';

rmSync(OUT, { recursive: true, force: true }); // no file of an earlier build may be packed or run
await buildKernels('src/workers/kernels', `${OUT}/workers/kernels`);
await build({
  input: {
    'main/index': 'src/main/index.ts',
    'main/cli/mmdump': 'src/main/cli/mmdump.ts',
    'main/cli/program': 'src/main/cli/program.ts', // tests run it in their own process
    'main/demo/demo': 'src/main/demo/demo.ts',
    'main/demo/target': 'src/main/demo/target.ts',
    'workers/tasks': 'src/workers/tasks.ts',
  },
  external: (id) => !id.startsWith('.') && !isAbsolute(id), // node: and packages
  platform: 'node',
  output: {
    dir: OUT,
    format: 'esm',
    entryFileNames: '[name].js',
    // main/package/places.ts finds other files of dist from where its chunk lies.
    chunkFileNames: 'main/[name]-[hash].js',
    sourcemap: true,
    // V8 folds a `const` into the loops that use it, and loads a `var` again each time.
    topLevelVar: false,
  },
});
