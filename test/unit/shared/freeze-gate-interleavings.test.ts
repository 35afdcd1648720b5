/**
 * Invariants checked, in every interleaving of small programs over the real code of the freeze
 * gate, with waits that never end by themselves:
 * - exclusion: no thread is inside while another thread's freeze has been granted
 * - no lost wake-up: when all threads rest, a thread that waits to enter waits for a freezer, and a
 *   freezer waits for a thread that is inside
 * - the same after the machine was closed: no thread enters any more or waits for the gate to open
 * - every run ends, unless the threads that could end it are not run
 * - a thread that dies at any step, inside or as a freezer, stops no other thread
 * The same checks find a set of deliberate mistakes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FreezeGate } from '../../../src/shared/sync/freeze-gate.ts';
import { type Exploration, Explorer } from '../../support/interleavings/explorer.ts';
import { type GateOptions, gateSystem } from '../../support/interleavings/freeze-gate-scenario.ts';
import { type Edit, importMutant } from '../../support/interleavings/mutants.ts';
import { runUnfolded } from '../../support/interleavings/unfolded-run.ts';

async function explore(text: string, options: Partial<GateOptions> = {}): Promise<Exploration> {
  const programs = text.split('|');
  const system = await gateSystem({ programs, gateClass: FreezeGate, ...options });
  return await new Explorer(system).explore();
}

describe('every interleaving of the freeze gate', () => {
  it.each(['E|F', 'E E|F F', 'tE|F', 'aE|F', 'E|aF', 'F|F', 'E|E|F', 'E|F|F', 'aE|E|aF'])(
    'of %s',
    async (text) => {
      const { violation, states, outcomes } = await explore(text);
      expect(violation).toBeUndefined();
      expect(states).toBeGreaterThan(20);
      expect(outcomes).toContain('0: done');
    },
  );

  it.each(['E|C', 'E E|C', 'tE|C', 'aE|C', 'E|F|C', 'aE|aF|C'])(
    'of %s, where a machine is closed: nobody is inside any more, nobody waits',
    async (text) => {
      const { violation, outcomes } = await explore(text);
      expect(violation).toBeUndefined();
      expect(outcomes).toContain('0: MACHINE_CLOSED');
      expect(outcomes).toContain('0: done');
    },
  );

  it.each([
    ['E|F', 0],
    ['E|F', 1],
    ['E|aF', 1],
    ['aE|F', 0],
    ['F|F', 0],
    ['E|E|F', 0],
    ['E|E|F', 2],
    ['E|F|F', 1],
  ] as const)('of %s when thread %i dies at any step', async (text, victim) => {
    const { violation, outcomes } = await explore(text, { victim });
    expect(violation).toBeUndefined();
    expect(outcomes).toContain(`${victim}: dead`);
  });
});

const CLOSING_MISTAKES: readonly (readonly [string, string, RegExp, readonly Edit[]])[] = [
  [
    'who shows itself does not look again whether the machine was closed',
    'tE|C',
    /^exclusion/,
    [['    if (this.#threads.isClosed) return true;\n', '']],
  ],
  [
    'who closes wakes nobody at the gate',
    'E|F|C',
    /^(lost wake-up|deadlock)/,
    [['    this.#tellUsers();\n    this.wakeAll();\n', '    this.#tellUsers();\n']],
  ],
];

const MISTAKES: readonly (readonly [string, string, RegExp, readonly Edit[]])[] = [
  [
    'a thread looks at the freezers before it shows itself',
    'tE|F',
    /^exclusion/,
    [
      [
        'Atomics.store(this.#words, mine, WITH_OPERATION);\n    if (!this.isClosed) {',
        `const isOpen = !this.isClosed;
         Atomics.store(this.#words, mine, WITH_OPERATION);
         if (isOpen) {`,
      ],
    ],
  ],
  [
    'who is refused wakes nobody',
    'tE|F',
    /^lost wake-up/,
    [
      [
        'wakeAll(this.#words, this.#base + CHANGES); // a freezer may have seen this thread inside',
        '// nobody is told',
      ],
    ],
  ],
  [
    'who leaves looks for waiters before it has left',
    'tE|F',
    /^lost wake-up/,
    [
      [
        `Atomics.store(this.#words, this.#threads.gateWord(id), 0);
    const waiters = Atomics.load(this.#words, this.#base + WAITERS);`,
        `const waiters = Atomics.load(this.#words, this.#base + WAITERS);
         Atomics.store(this.#words, this.#threads.gateWord(id), 0);`,
      ],
    ],
  ],
  [
    'a freeze that is aborted is not undone',
    'E|aF',
    /^(lost wake-up|rest)/,
    [['    } catch (error) {\n      this.thaw(id);\n', '    } catch (error) {\n']],
  ],
  [
    'a thread tries again without waiting until the gate looks open',
    'E|E|F',
    /^livelock/,
    [
      [
        'const isTold = waitSync(this.#words, this.#base + CHANGES, seen);',
        'const isTold = waitSync(this.#words, this.#base + CHANGES, seen);\n        break;',
      ],
    ],
  ],
];

describe('a deliberate mistake is found', () => {
  it.each([...MISTAKES, ...CLOSING_MISTAKES])('%s', async (_, text, what, edits) => {
    const { FreezeGate: gateClass } = await importMutant<{ FreezeGate: typeof FreezeGate }>(
      'shared/sync/freeze-gate.ts',
      edits,
    );
    const { violation } = await explore(text, { gateClass });
    expect(violation?.what).toMatch(what);
  });
});

describe('what the exploration assumes of the code', () => {
  it.each([
    { programs: ['E E', 'tE E', 'F F'], victim: 1 },
    { programs: ['E', 'F', 'F E'], victim: 2 },
  ])('holds in unfolded runs of $programs', async (options) => {
    const system = await gateSystem({ ...options, gateClass: FreezeGate });
    const schedule = fc.record({
      choices: fc.array(fc.nat(11), { minLength: 80, maxLength: 150, size: 'max' }),
      killAt: fc.nat(60),
    });
    let steps = 0;
    await fc.assert(
      fc.asyncProperty(schedule, async ({ choices, killAt }) => {
        steps += await runUnfolded(system, choices, killAt);
      }),
      { numRuns: process.env.MMDUMP_LONG === '1' ? 300 : 20 },
    );
    expect(steps).toBeGreaterThan(20 * 20);
  });
});
