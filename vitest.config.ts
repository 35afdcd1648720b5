import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const dist = fileURLToPath(new URL('./dist/', import.meta.url));

/** What every project below has. */
const common = {
  // Threads run from dist: the built package is loaded by Node itself, once.
  server: { deps: { external: [new RegExp(`^(file://)?${dist.replaceAll('/', '\\/')}`)] } },
  // For what never ends. A busy machine makes a test ten times slower, and says nothing by that.
  testTimeout: 300_000,
  hookTimeout: 300_000,
  setupFiles: ['test/support/seed.ts'],
};

export default defineConfig({
  test: {
    reporters: ['default'],
    // Most files wait for processes or threads of their own now and then: two at a time.
    maxWorkers: 2,
    projects: [
      // Small, and nothing that a process could tell from another: one process for all of them.
      { test: { ...common, name: 'unit', include: ['test/unit/**/*.test.ts'], isolate: false } },
      {
        test: {
          ...common,
          name: 'whole',
          include: ['test/**/*.test.ts'],
          exclude: ['test/unit/**'],
        },
      },
    ],
  },
});
