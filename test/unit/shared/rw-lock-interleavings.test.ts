/**
 * Invariants checked, in every interleaving of small programs over the real code of the lock, with
 * waits that never end by themselves:
 * - exclusion: a writer inside excludes every other thread
 * - no lost wake-up: when all threads rest, each sleeper waits for a thread that is inside or for a
 *   sleeper with an earlier ticket; no run ends with a sleeper
 * - first come, first served: no thread enters before a conflicting thread with an earlier ticket,
 *   so that no reader overtakes a writer that came first
 * - every run ends, unless the threads that could end it are not run
 * - a thread that dies anywhere but inside a write stops no other thread and poisons nothing
 * - a thread that dies inside a write poisons the machine: afterwards none enters or stays asleep
 * The same checks find a set of deliberate mistakes. The assumptions that the exploration makes
 * about the code are compared with runs that make none.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RwLock } from '../../../src/shared/sync/rw-lock.ts';
import { type Exploration, Explorer } from '../../support/interleavings/explorer.ts';
import { type Edit, importMutant } from '../../support/interleavings/mutants.ts';
import { type RwOptions, rwSystem } from '../../support/interleavings/rw-lock-scenario.ts';
import { runUnfolded } from '../../support/interleavings/unfolded-run.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const LONG_MS = 3_600_000;
const WRITERS = ['W|W', 'W|R', 'aW|R', 'tW|W'];

async function explore(text: string, options: Partial<RwOptions> = {}): Promise<Exploration> {
  const system = await rwSystem({ programs: text.split('|'), lockClass: RwLock, ...options });
  return await new Explorer(system).explore();
}

describe('every interleaving of the readers-writer lock', () => {
  it.each(['W|W', 'R|W', 'R|R', 'W W|R', 'W R|W', 'W|R|W'])('of %s', async (text) => {
    const { violation, states, outcomes } = await explore(text);
    expect(violation).toBeUndefined();
    expect(states).toBeGreaterThan(30);
    expect([...outcomes].every((outcome) => outcome.endsWith(': done'))).toBe(true);
  });

  it.each(['tW|W', 'tR|W', 'tW|tW', 'tW|R'])('of %s, which may be refused', async (text) => {
    const { violation, outcomes } = await explore(text);
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: done');
    expect(outcomes).toContain('0: refused');
  });

  it.each(['tR|R', 'tR|tR', 'tR|aR', 'tR|R|R'])(
    'trial 14: of %s, where nobody writes and so nobody is refused',
    async (text) => {
      const { violation, outcomes } = await explore(text);
      expect(violation).toBeUndefined();
      expect(outcomes).toContain('0: done');
      expect(outcomes).not.toContain('0: refused');
    },
  );

  it.each(['aW|W', 'aR|W', 'aW|R R'])('of %s, which may be aborted', async (text) => {
    const { violation, outcomes } = await explore(text);
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: done');
    expect(outcomes).toContain('0: ABORT_ERR');
  });

  it.each(['W|W', 'W|R', 'W R|W'])('of %s, if waits may end at any time', async (text) => {
    expect((await explore(text, { wakesByItself: true })).violation).toBeUndefined();
  });

  it('of W W|R, while tickets wrap round', async () => {
    const { violation } = await explore('W W|R', { firstTicket: 0x0fff_ffff });
    expect(violation).toBeUndefined();
  });
});

describe('a thread that dies at any step', () => {
  it.each(['R|W', 'R|R', 'aR|W', 'R W|R'])('of %s stops nobody', async (text) => {
    const { violation, outcomes } = await explore(text, { victim: 0 });
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: dead');
    expect(outcomes).toContain('1: done');
    expect(outcomes.has('1: MACHINE_POISONED')).toBe(text.includes('W|'));
  });

  it.each(WRITERS)('of %s inside a write poisons the machine; nobody sleeps on', async (text) => {
    const { violation, outcomes } = await explore(text, { victim: 0 });
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('1: MACHINE_POISONED');
  });
});

describe('a machine that is poisoned from elsewhere', () => {
  it.each(['R|P', 'W|P', 'tW|P'])('is no obstacle to the end of %s', async (text) => {
    const { violation, outcomes } = await explore(text);
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: done');
    expect(outcomes).toContain('0: MACHINE_POISONED');
  });

  it('tells at once who is about to wait in R|W|P', async () => {
    expect((await explore('R|W|P')).violation).toBeUndefined();
  });
});

const MISTAKES: readonly (readonly [string, string, RegExp, readonly Edit[]])[] = [
  [
    'no CHOOSING',
    'W|W',
    /^exclusion/,
    [['    Atomics.store(words, at, CHOOSING | writer);\n', '']],
  ],
  ['CHOOSING is looked over', 'W|W', /^exclusion/, [['        choosing = CHOOSING;\n', '']]],
  [
    'WAITERS is read before the entry is changed',
    'W|W',
    /^lost wake-up/,
    [
      [
        `Atomics.store(this.#words, at, 0);
    if ((entry & WRITER) !== 0) this.#clearWriter(id);
    this.#changed();`,
        `const waiters = Atomics.load(this.#words, this.#base + WAITERS);
         Atomics.store(this.#words, at, 0);
         if ((entry & WRITER) !== 0) this.#clearWriter(id);
         if (waiters !== 0) wakeAll(this.#words, this.#base + CHANGES);`,
      ],
    ],
  ],
  [
    'CHANGES is not counted up',
    'W|W',
    /^lost wake-up/,
    [
      [
        '=== 0) return;\n    wakeAll(this.#words, this.#base + CHANGES);',
        '=== 0) return;\n    Atomics.notify(this.#words, this.#base + CHANGES);',
      ],
    ],
  ],
  [
    'a waiter that shows its ticket wakes nobody',
    'W|W',
    /^lost wake-up/,
    [['Atomics.store(words, at, mine);\n    this.#changed();', 'Atomics.store(words, at, mine);']],
  ],
  [
    'who gives up wakes nobody',
    'aW|R',
    /^lost wake-up/,
    [
      [
        "if (mode === 'write') this.#clearWriter(id);\n    this.#changed();",
        "if (mode === 'write') this.#clearWriter(id);",
      ],
    ],
  ],
  [
    'readers go first',
    'R|R|W',
    /^overtaking/,
    [['|| isEarlier(entry, mine))', '|| ((mine & WRITER) !== 0 && isEarlier(entry, mine)))']],
  ],
  [
    'a reader looks for writers before it shows its entry',
    'R|W',
    /^exclusion/,
    [
      [
        'Atomics.store(this.#words, this.#entry(id), PRESENT | HELD);\n    if (!this.#anyWriter &&',
        `const anyWriter = this.#anyWriter;
         Atomics.store(this.#words, this.#entry(id), PRESENT | HELD);
         if (!anyWriter &&`,
      ],
    ],
  ],
  [
    'a writer does not say that it writes',
    'R|W',
    /^exclusion/,
    [['    if (writer !== 0) {\n      Atomics.or(', '    if (writer < 0) {\n      Atomics.or(']],
  ],
  [
    'a writer that leaves does not take back that it writes',
    'R|W',
    /^rest: WRITERS/,
    [
      [
        'Atomics.store(this.#words, at, 0);\n    if ((entry & WRITER) !== 0) this.#clearWriter(id);',
        'Atomics.store(this.#words, at, 0);',
      ],
    ],
  ],
  [
    'who is inside is looked over',
    'R|W',
    /^exclusion/,
    [
      [
        '(entry & HELD) !== 0 || isEarlier(entry, mine)',
        '(entry & HELD) === 0 && isEarlier(entry, mine)',
      ],
    ],
  ],
];

describe('a deliberate mistake is found', () => {
  it.each(MISTAKES)('%s', async (_, text, what, edits) => {
    const { RwLock: lockClass } = await importMutant<{ RwLock: typeof RwLock }>(
      'shared/sync/rw-lock.ts',
      edits,
    );
    // Most ways to break exclusion break the order first.
    const without = what.source.includes('overtaking') ? [] : ['overtaking'];
    const { violation } = await explore(text, { lockClass, without });
    expect(violation?.what).toMatch(what);
  });

  it('a dead thread is taken out of the queue, but nobody is woken', async () => {
    const { RwLock: lockClass } = await importMutant<{ RwLock: typeof RwLock }>(
      'shared/sync/rw-lock.ts',
      [
        [
          'this.#clearWriter(id);\n    wakeAll(this.#words, this.#base + CHANGES);',
          'this.#clearWriter(id);',
        ],
      ],
    );
    const { violation } = await explore('R|W', { lockClass, victim: 0 });
    expect(violation?.what).toMatch(/^lost wake-up: 1/);
    expect(violation?.schedule).toContain('0: is killed');
  });
});

describe('what the exploration assumes of the code', () => {
  const cases = [
    { programs: ['W R', 'R W', 'W'] },
    { programs: ['R', 'W', 'R W'], victim: 1 },
    { programs: ['tW tR', 'W', 'tR tW'] },
    { programs: ['R R', 'tW', 'W'], victim: 0 },
  ];
  it.each(cases)('holds in unfolded runs of $programs', async (options) => {
    const system = await rwSystem({ ...options, lockClass: RwLock });
    const schedule = fc.record({
      choices: fc.array(fc.nat(11), { minLength: 150, maxLength: 250, size: 'max' }),
      killAt: fc.nat(60),
    });
    let steps = 0;
    await fc.assert(
      fc.asyncProperty(schedule, async ({ choices, killAt }) => {
        steps += await runUnfolded(system, choices, killAt);
      }),
      { numRuns: IS_LONG ? 300 : 20 },
    );
    expect(steps).toBeGreaterThan(20 * 50);
  });
});

describe.runIf(IS_LONG)('every interleaving of larger programs', { timeout: LONG_MS }, () => {
  it.each(['R|R|W', 'W|W|W', 'R W|W R', 'tW|R|W', 'aW|R|W', 'W W|R|W'])('of %s', async (text) => {
    expect((await explore(text)).violation).toBeUndefined();
  });

  it.each(['R|R|W', 'W|R|W'])('of %s, if waits may end at any time', async (text) => {
    expect((await explore(text, { wakesByItself: true })).violation).toBeUndefined();
  });

  it.each([
    ['R|R|W', 0],
    ['R|W|R', 1],
    ['W|R|W', 0],
  ] as const)('of %s when thread %i dies', async (text, victim) => {
    expect((await explore(text, { victim })).violation).toBeUndefined();
  });
});
