import fc from 'fast-check';
import { expect } from 'vitest';

/**
 * Checks a property `runs` times, and repeats this up to ten times in all until `missed` is empty.
 * How many draws are needed to reach every case depends on the seed and on how machines are made.
 */
export async function checkUntil<T>(
  property: fc.IAsyncPropertyWithHooks<T>,
  { runs, examples = [] }: { readonly runs: number; readonly examples?: T[] },
  missed: () => readonly string[],
): Promise<void> {
  const { seed } = fc.readConfigureGlobal();
  await fc.assert(property, { numRuns: runs, examples });
  for (let again = 1; again < 10 && missed().length > 0; again++) {
    const other = seed === undefined ? {} : { seed: seed + again };
    await fc.assert(property, { numRuns: runs, ...other });
  }
  expect(missed()).toEqual([]);
}
