import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const dist = fileURLToPath(new URL('./dist/', import.meta.url));

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Threads run from dist: the built package is loaded by Node itself, once.
    server: { deps: { external: [new RegExp(`^(file://)?${dist.replaceAll('/', '\\/')}`)] } },
    // For what never ends. A busy machine makes a test ten times slower, and says nothing by that.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: ['default'],
    // Most files wait for processes or threads of their own now and then: two at a time.
    maxWorkers: 2,
    setupFiles: ['test/support/seed.ts'],
  },
});
