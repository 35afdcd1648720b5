/**
 * Invariants checked, in every interleaving of small programs over the real code of the freeze gate
 * and of `translations.ts`, with waits that never end by themselves:
 * - no stale store: while a thread uses a translation, the leaf is what it was when the translation
 *   was made
 * - a freeze or the end of the machine excludes users, as it excludes operations
 * - a user that looks at the epoch leaves: every run ends, unless the threads that could end it are
 *   not run
 * - a user that dies at any step stops no revoker and no freezer
 * The same checks find a set of deliberate mistakes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FreezeGate } from '../../../src/shared/sync/freeze-gate.ts';
import { Translations } from '../../../src/shared/sync/translations.ts';
import { type Exploration, Explorer } from '../../support/interleavings/explorer.ts';
import { type Edit, importMutant } from '../../support/interleavings/mutants.ts';
import {
  type TranslationsOptions,
  translationsSystem,
} from '../../support/interleavings/translations-scenario.ts';
import { runUnfolded } from '../../support/interleavings/unfolded-run.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

async function explore(
  text: string,
  options: Partial<TranslationsOptions> = {},
): Promise<Exploration> {
  const programs = text.split('|');
  const system = await translationsSystem({
    programs,
    translationsClass: Translations,
    ...options,
  });
  return await new Explorer(system).explore();
}

describe('every interleaving of users of translations and of those who take them away', () => {
  it.each(['U|R', 'U U|R', 'U U|R R', 'L|R', 'U|aR', 'U|R|R', 'L|L|R', 'U|F', 'L|F', 'U U|F'])(
    'of %s',
    async (text) => {
      const { violation, states, outcomes } = await explore(text);
      expect(violation).toBeUndefined();
      expect(states).toBeGreaterThan(20);
      expect(outcomes).toContain('0: done');
    },
  );

  it.each(['L|C', 'U U|C'])('of %s, where a machine is closed', async (text) => {
    const { violation, outcomes } = await explore(text);
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: MACHINE_CLOSED');
  });

  it.each(['U|R', 'L|R', 'U U|R', 'U|F', 'L|F'])('of %s when the user dies', async (text) => {
    const { violation, outcomes } = await explore(text, { victim: 0 });
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: dead');
  });
});

type Mistake = readonly [what: string, text: string, found: RegExp, edits: readonly Edit[]];

const MISTAKES: readonly Mistake[] = [
  [
    'who goes inside does not look at the epoch again once it is seen',
    'U U|R',
    /^stale/,
    [
      [
        '    const now = Atomics.load(words, epoch); // before',
        '    const now = before; // before',
      ],
    ],
  ],
  [
    'who goes inside shows an epoch that it has not seen',
    'U U|R R',
    /^stale/,
    [['placeOf(slot, before));', 'placeOf(slot, before + 1));']],
  ],
  [
    'a revoker looks for users before it moves the epoch on',
    'U U|R',
    /^stale/,
    [
      [
        'const epoch = Atomics.add(words, at, 1) + 1;\n    this.moves++;\n    for (let spin = 0; spin < SPINS; spin++) if (!this.#isUsed(slot, epoch)) return true;',
        `const epoch = Atomics.load(words, at) + 1;
         const isUsed = this.#isUsed(slot, epoch);
         Atomics.add(words, at, 1);
         if (!isUsed) return true;`,
      ],
    ],
  ],
  [
    'a revoker waits for nobody',
    'U|R',
    /^stale/,
    [
      [
        'if (!this.#isUsed(slot, epoch)) return true;\n    if (!sleeps)',
        'return true;\n    if (!sleeps)',
      ],
    ],
  ],
  [
    'a revoker takes a user that has seen an earlier epoch for one of its own',
    'U U|R',
    /^stale/,
    [['showsEarlier(place, slot, epoch)', 'showsEarlier(place, slot, epoch - 1)']],
  ],
  [
    'a translation is made, and nobody is told that there is one',
    'U|R',
    /^stale/,
    [['Atomics.store(this.#words, at + USED, 1);', ';']],
  ],
  [
    'a user looks at the gate before it looks at the epoch',
    'L|F',
    /^(livelock|lost wake-up|deadlock)/,
    [
      [
        'const now = Atomics.load(words, epoch); // before the look at the gate: see above',
        `const isShut = this.#gate.isClosed || this.#threads.isPoisoned;
         const now = Atomics.load(words, epoch);`,
      ],
      ['if (this.#gate.isClosed || this.#threads.isPoisoned) {', 'if (isShut) {'],
    ],
  ],
  [
    'a user goes inside a gate that is closed',
    'U U|F',
    /^frozen/,
    [['if (this.#gate.isClosed || this.#threads.isPoisoned) {', 'if (false) {']],
  ],
  [
    'who leaves looks for waiters before it has left',
    'U|R',
    /^(lost wake-up|deadlock|rest)/,
    [
      [
        'Atomics.store(this.#words, this.#threads.gateWord(id), 0);\n    this.#wakeWaiters();',
        `const waiters = Atomics.load(this.#words, this.#base + WAITERS);
         Atomics.store(this.#words, this.#threads.gateWord(id), 0);
         if (waiters !== 0) wakeAll(this.#words, this.#base + CHANGES);`,
      ],
    ],
  ],
  [
    'who shows a later epoch wakes nobody',
    'L|R',
    /^(livelock|lost wake-up|deadlock|rest)/,
    [['      this.#wakeWaiters(); // a revoker may have seen the earlier epoch\n', '']],
  ],
];

const GATE_MISTAKES: readonly Mistake[] = [
  [
    'a freezer does not tell the users',
    'L|F',
    /^(livelock|lost wake-up|deadlock)/,
    [['    this.#tellUsers();\n    Atomics.add(', '    Atomics.add(']],
  ],
  [
    'a freezer tells the users before it closes the gate',
    'L|F',
    /^(livelock|lost wake-up|deadlock)/,
    [
      ['    const before = Atomics.or(', '    this.#tellUsers();\n    const before = Atomics.or('],
      ['    this.#tellUsers();\n    Atomics.add(', '    Atomics.add('],
    ],
  ],
  [
    'who closes does not tell the users',
    'L|C',
    /^(livelock|lost wake-up|deadlock)/,
    [['    this.#tellUsers();\n    this.wakeAll();', '    this.wakeAll();']],
  ],
];

describe('a deliberate mistake is found', () => {
  it.each(MISTAKES)('%s', async (_, text, what, edits) => {
    const { Translations: translationsClass } = await importMutant<{
      Translations: typeof Translations;
    }>('shared/sync/translations.ts', edits);
    const { violation } = await explore(text, { translationsClass });
    expect(violation?.what).toMatch(what);
  });

  it.each(GATE_MISTAKES)('of the gate: %s', async (_, text, what, edits) => {
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
    { programs: ['U U', 'R R', 'L'] },
    { programs: ['L', 'F', 'R'] },
    { programs: ['U U', 'R', 'F'], victim: 0 },
  ])('holds in unfolded runs of $programs', async (options) => {
    const system = await translationsSystem({ ...options, translationsClass: Translations });
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

describe.runIf(IS_LONG)('every interleaving of larger programs', { timeout: 3_600_000 }, () => {
  it.each(['U U|U|R', 'U U|R|F', 'L|R|F', 'U U|R|R R'])('of %s', async (text) => {
    expect((await explore(text)).violation).toBeUndefined();
  });
});
