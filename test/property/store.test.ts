/**
 * Invariants checked, against a model that is a list of byte strings with reference counts:
 * - a string keeps its bytes until its last reference is dropped, whatever else is added and
 *   dropped
 * - no two strings overlap; free and used blocks cover the store, and free neighbours are joined
 * - ENOSPC is thrown only if no free stretch is long enough, and then nothing has changed
 * - once everything is dropped, the store is one free block again
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Store } from '../../src/mmu/files/store.ts';
import { STORE } from '../../src/mmu/files/store-blocks.ts';
import { testLocks } from '../support/machine/locks.ts';
import { codeOf } from '../support/machine/machine.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const STORE_BYTES = 16 * 1024;
const UNIT = 16;

type Step =
  | { readonly kind: 'add'; readonly length: number; readonly byte: number }
  | { readonly kind: 'get' | 'put'; readonly which: number };

const length = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 100 }) },
  { weight: 2, arbitrary: fc.integer({ min: 100, max: 2000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 2000, max: STORE_BYTES }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      length,
      byte: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('get' as const), which: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('put' as const), which: fc.nat() }) },
);

interface Kept {
  readonly at: number;
  readonly bytes: Uint8Array;
  references: number;
}

class Model {
  readonly store: Store;
  readonly thread: number;
  readonly #atFirst: number[];
  kept: Kept[] = [];

  constructor() {
    const { table, gate, ids } = testLocks(1);
    this.thread = ids[0]!;
    gate.tryEnter(this.thread);
    const words = new Int32Array(STORE.WORDS);
    this.store = new Store(words, 0, new SharedArrayBuffer(STORE_BYTES), table, false);
    this.store.initialise();
    this.#atFirst = this.#free();
  }

  #free(): number[] {
    return this.store.check(this.thread);
  }

  run(each: Step): void {
    if (each.kind === 'add') this.#add(new Uint8Array(each.length).fill(each.byte));
    else if (this.kept.length > 0) {
      const kept = this.kept[each.which % this.kept.length]!;
      if (each.kind === 'get') this.#get(kept);
      else this.#put(kept);
    }
    this.#free();
    for (const { at, bytes } of this.kept) {
      expect(Buffer.compare(this.store.view(at, bytes.length), bytes)).toBe(0);
    }
  }

  #add(bytes: Uint8Array): void {
    const before = this.#free();
    try {
      this.kept.push({ at: this.store.add(bytes, this.thread), bytes, references: 1 });
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
      const units = 1 + Math.ceil(bytes.length / UNIT);
      expect(Math.max(...before, 0)).toBeLessThan(units);
      expect(this.#free()).toEqual(before);
    }
  }

  #get(kept: Kept): void {
    this.store.get(kept.at);
    kept.references++;
  }

  #put(kept: Kept): void {
    this.store.put(kept.at, this.thread);
    if (--kept.references === 0) this.kept = this.kept.filter((other) => other !== kept);
  }

  /** Drops everything. */
  end(): void {
    while (this.kept.length > 0) this.#put(this.kept[0]!);
    expect(this.#free()).toEqual(this.#atFirst);
  }
}

describe('fault 6: the store gives room back', () => {
  it('as a list of byte strings would', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const model = new Model();
        for (const each of steps) model.run(each);
        model.end();
      }),
      { numRuns: IS_LONG ? 3000 : 100 },
    );
  });

  it('and is not asked to free twice', () => {
    const { store, thread } = new Model();
    const at = store.add(new Uint8Array(3), thread);
    store.put(at, thread);
    expect(codeOf(() => store.put(at, thread))).toMatch(/released more often/);
  });
});
