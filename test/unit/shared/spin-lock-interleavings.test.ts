/**
 * Invariants checked, in every interleaving of small programs over the real code of the spin lock
 * and the mutex, with waits that never end by themselves:
 * - exclusion: the lock has at most one owner
 * - no lost wake-up: no thread sleeps when all others rest and the lock has no owner
 * - every run ends, unless the threads that could end it are not run
 * - a thread that dies as the owner poisons the machine: after it none enters, spins or stays
 *   asleep
 * - a thread that dies at any other step, or ends normally, poisons nothing
 * The same checks find a set of deliberate mistakes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Mutex } from '../../../src/shared/sync/mutex.ts';
import type { spinLock, spinUnlock } from '../../../src/shared/sync/spin-lock.ts';
import { type Exploration, Explorer } from '../../support/interleavings/explorer.ts';
import { importMutant } from '../../support/interleavings/mutants.ts';
import { runUnfolded } from '../../support/interleavings/unfolded-run.ts';
import {
  mutexKind,
  spinLockKind,
  type WordLockKind,
  type WordLockOptions,
  wordLockSystem,
} from '../../support/interleavings/word-lock-scenario.ts';

const SPIN = 'shared/sync/spin-lock.ts';
const MUTEX = 'shared/sync/mutex.ts';
type SpinModule = { spinLock: typeof spinLock; spinUnlock: typeof spinUnlock };

async function explore(
  kind: WordLockKind,
  text: string,
  options: Partial<WordLockOptions> = {},
): Promise<Exploration> {
  const system = await wordLockSystem({ kind, programs: text.split('|'), ...options });
  return await new Explorer(system).explore();
}

describe('every interleaving of the spin lock', () => {
  it.each(['L|L', 'L L|L', 'L|L|L'])('of %s', async (text) => {
    const { violation, states, outcomes } = await explore(spinLockKind(), text);
    expect(violation).toBeUndefined();
    expect(states).toBeGreaterThan(50);
    expect([...outcomes].every((outcome) => outcome.endsWith(': done'))).toBe(true);
  });

  it.each(['L|L', 'L|L|L'])('of %s when a thread dies at any step', async (text) => {
    const { violation, outcomes } = await explore(spinLockKind(), text, { victim: 0 });
    expect(violation).toBeUndefined();
    expect(outcomes).toContain('0: dead');
    expect(outcomes).toContain('1: done');
    expect(outcomes).toContain('1: MACHINE_POISONED');
  });

  it('of L end|L: who ends in peace poisons nothing', async () => {
    expect((await explore(spinLockKind(), 'L end|L')).violation).toBeUndefined();
  });
  it('of L L|L: who dies between two sections poisons nothing', async () => {
    expect((await explore(spinLockKind(), 'L L|L', { victim: 0 })).violation).toBeUndefined();
  });
});

describe('every interleaving of the mutex', () => {
  it.each(['L|L', 'L L|L', 'L|L|L', 'aL|L', 'aL|aL'])('of %s', async (text) => {
    const { violation, states, outcomes } = await explore(mutexKind(), text);
    expect(violation).toBeUndefined();
    expect(states).toBeGreaterThan(50);
    expect(outcomes).toContain('1: done');
  });

  it('of L end|L: who ends in peace poisons nothing', async () => {
    expect((await explore(mutexKind(), 'L end|L')).violation).toBeUndefined();
  });
  it('of L|L when a thread dies at any step', async () => {
    expect((await explore(mutexKind(), 'L|L', { victim: 0 })).violation).toBeUndefined();
  });
});

describe('a deliberate mistake is found', () => {
  it('the spin lock loads, then stores', async () => {
    const spin = await importMutant<SpinModule>(SPIN, [
      [
        'if (Atomics.compareExchange(words, at, 0, id + 1) !== 0) {\n    spin',
        'if (Atomics.load(words, at) === 0) Atomics.store(words, at, id + 1);\n  else {\n    spin',
      ],
    ]);
    const { violation } = await explore(spinLockKind(spin), 'L|L');
    expect(violation?.what).toMatch(/^exclusion/);
  });

  it('who spins does not ask whether the machine is poisoned, or its owner alive', async () => {
    const spin = await importMutant<SpinModule>(SPIN, [
      ['    threads.assertTrusted();\n', ''],
      ['threads.diedOwning(owner, words, at, owner + 1)', 'false'],
    ]);
    const { violation } = await explore(spinLockKind(spin), 'L|L', { victim: 0 });
    expect(violation?.what).toMatch(/^livelock: spins for ever/);
  });

  it('the spin lock is given back before the change is made', async () => {
    const spin = await importMutant<SpinModule>(SPIN, [
      [
        '  threads.hold(id, rank);\n',
        '  threads.hold(id, rank);\n  Atomics.store(words, at, 0);\n',
      ],
    ]);
    const { violation } = await explore(spinLockKind(spin), 'L|L');
    expect(violation?.what).toMatch(/^exclusion/);
  });

  it('who waits for the mutex does not say so', async () => {
    const { Mutex: mutexClass } = await importMutant<{ Mutex: typeof Mutex }>(MUTEX, [
      ['const marked = seen | CONTENDED;', 'const marked = seen;'],
    ]);
    const { violation } = await explore(mutexKind(mutexClass), 'L|L');
    expect(violation?.what).toMatch(/^lost wake-up/);
  });

  it('the mutex looks whether to wake before it is given back', async () => {
    const { Mutex: mutexClass } = await importMutant<{ Mutex: typeof Mutex }>(MUTEX, [
      [
        'const seen = Atomics.exchange(this.#words, this.#at, 0);',
        'const seen = Atomics.load(this.#words, this.#at);\n    Atomics.store(this.#words, this.#at, 0);',
      ],
    ]);
    const { violation } = await explore(mutexKind(mutexClass), 'L|L');
    expect(violation?.what).toMatch(/^lost wake-up/);
  });
});

describe('what the exploration assumes of the code', () => {
  const cases: [string, WordLockKind, string[], number | undefined][] = [
    ['the spin lock', spinLockKind(), ['L L', 'L', 'L end'], undefined],
    ['the spin lock and a death', spinLockKind(), ['L L', 'L', 'L'], 1],
    ['the mutex', mutexKind(), ['L L', 'L', 'L end'], undefined],
    ['the mutex and a death', mutexKind(), ['L L', 'L', 'L'], 0],
  ];
  it.each(cases)('holds in unfolded runs of %s', async (_, kind, programs, victim) => {
    const system = await wordLockSystem({
      kind,
      programs,
      ...(victim === undefined ? {} : { victim }),
    });
    const schedule = fc.record({
      choices: fc.array(fc.nat(11), { minLength: 80, maxLength: 150, size: 'max' }),
      killAt: fc.nat(40),
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
