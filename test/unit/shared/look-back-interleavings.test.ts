/**
 * Invariants checked, in every interleaving of small crews over the real code of the look-back,
 * with waits that never end by themselves:
 * - the end that a unit states is the sum of the sizes up to and including it
 * - at the end every unit has its place, and no worker sleeps for ever
 * - a worker that dies at any step does not stop the others for ever once the host says stop
 * The same checks find a set of deliberate mistakes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LookBack } from '../../../src/shared/dump/look-back.ts';
import { type Exploration, Explorer } from '../../support/interleavings/explorer.ts';
import {
  type LookBackOptions,
  lookBackSystem,
} from '../../support/interleavings/look-back-scenario.ts';
import { type Edit, importMutant } from '../../support/interleavings/mutants.ts';
import { runUnfolded } from '../../support/interleavings/unfolded-run.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const LONG: [number, number][] = IS_LONG
  ? [
      [2, 4],
      [3, 3],
    ]
  : [];

async function explore(options: LookBackOptions): Promise<Exploration> {
  return await new Explorer(await lookBackSystem(options)).explore();
}

describe('every interleaving of the look-back', () => {
  it.each<[number, number]>([[1, 3], [2, 2], [2, 3], [3, 2], ...LONG])(
    'of %i workers and %i units',
    async (workers, units) => {
      const { violation, states, outcomes } = await explore({ workers, units });
      expect(violation).toBeUndefined();
      expect(states).toBeGreaterThan(20);
      expect(outcomes).toContain('0: done');
    },
  );

  it.each([
    [2, 2, 0],
    [2, 3, 1],
    [3, 2, 0],
  ])(
    'of %i workers and %i units when worker %i dies at any step',
    async (workers, units, victim) => {
      const { violation, outcomes } = await explore({ workers, units, victim });
      expect(violation).toBeUndefined();
      expect(outcomes).toContain(`${victim}: dead`);
      expect(outcomes).toContain(`${victim === 0 ? 1 : 0}: stopped by the host`);
    },
  );
});

const MISTAKES: readonly (readonly [string, LookBackOptions, RegExp, readonly Edit[]])[] = [
  [
    'the state is published before the size',
    { workers: 2, units: 2 },
    /^place/,
    [
      ['    this.#words[at + SIZE] = bytes;\n', ''],
      [
        'Atomics.store(this.#words, at + STATE, SIZED);',
        'Atomics.store(this.#words, at + STATE, SIZED);\n    this.#words[at + SIZE] = bytes;',
      ],
    ],
  ],
  [
    'the state is published before the end',
    { workers: 2, units: 2 },
    /^place/,
    [
      ['    writeU64(this.#words, at + END, end);\n', ''],
      [
        'Atomics.store(this.#words, at + STATE, PLACED);',
        'Atomics.store(this.#words, at + STATE, PLACED);\n    writeU64(this.#words, at + END, end);',
      ],
    ],
  ],
  [
    'a worker publishes its size and wakes nobody',
    { workers: 2, units: 2 },
    /^deadlock/,
    [
      [
        'Atomics.store(this.#words, at + STATE, SIZED);\n    wakeAll(this.#words, CHANGES);',
        'Atomics.store(this.#words, at + STATE, SIZED);',
      ],
    ],
  ],
  [
    'a worker looks at the state before it notes the changes',
    { workers: 2, units: 2 },
    /^deadlock/,
    [
      [
        'const seen = Atomics.load(this.#words, CHANGES); // first, so that no later change is missed\n      const state = Atomics.load(this.#words, at);',
        'const state = Atomics.load(this.#words, at);\n      const seen = Atomics.load(this.#words, CHANGES);',
      ],
    ],
  ],
  [
    'a worker that finds a known end forgets the sizes that it has passed',
    { workers: 2, units: 3 },
    /^place/,
    [
      [
        'if (state === PLACED) return readU64(this.#words, at + END) + bytes;',
        'if (state === PLACED) return readU64(this.#words, at + END);',
      ],
    ],
  ],
  [
    'a worker that waits does not look at the stop word',
    { workers: 3, units: 2, victim: 0 },
    /^deadlock/,
    [
      [
        'if (state !== UNKNOWN || stop.isStopped) return state;',
        'if (state !== UNKNOWN) return state;',
      ],
    ],
  ],
];

describe('a deliberate mistake is found', () => {
  it.each(MISTAKES)('%s', async (_, options, what, edits) => {
    const { LookBack: lookBackClass } = await importMutant<{ LookBack: typeof LookBack }>(
      'shared/dump/look-back.ts',
      edits,
    );
    const { violation } = await explore({ ...options, lookBackClass });
    expect(violation?.what).toMatch(what);
  });
});

describe('what the exploration assumes of the code', () => {
  it.each([
    { workers: 3, units: 4 },
    { workers: 3, units: 3, victim: 1 },
  ])('holds in unfolded runs of %o', async (options) => {
    const system = await lookBackSystem(options);
    const schedule = fc.record({
      choices: fc.array(fc.nat(11), { minLength: 80, maxLength: 150, size: 'max' }),
      killAt: fc.nat(60),
    });
    let steps = 0;
    await fc.assert(
      fc.asyncProperty(schedule, async ({ choices, killAt }) => {
        steps += await runUnfolded(system, choices, killAt);
      }),
      { numRuns: IS_LONG ? 300 : 20 },
    );
    expect(steps).toBeGreaterThan(20 * 20);
  });
});
