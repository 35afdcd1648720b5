import { describe, expect, it } from 'vitest';
import { BlockCache } from '../../../src/main/image/block-cache.ts';

const BYTES = 100;

/** Counts the loads, and how many bytes are being loaded at the same time. */
class Loads {
  count = 0;
  most = 0;
  #now = 0;

  readonly fill = async (payload: Uint8Array): Promise<void> => {
    const ordinal = ++this.count;
    this.#now += payload.length;
    this.most = Math.max(this.most, this.#now);
    await new Promise((resolve) => setImmediate(resolve));
    payload.fill(ordinal);
    this.#now -= payload.length;
  };
}

describe('the cache of blocks', () => {
  it('loads a block once for all who ask for it at the same time, and afterwards', async () => {
    const cache = new BlockCache(3 * BYTES);
    const loads = new Loads();
    const found = await Promise.all([1, 1, 1].map((key) => cache.load(key, BYTES, loads.fill)));
    expect(new Set(found).size).toBe(1);
    expect(cache.get(1)).toBe(found[0]);
    await cache.load(1, BYTES, loads.fill);
    expect(loads.count).toBe(1);
  });

  it('keeps the blocks that were used last, up to its limit', async () => {
    const cache = new BlockCache(3 * BYTES);
    const loads = new Loads();
    for (const key of [1, 2, 3]) await cache.load(key, BYTES, loads.fill);
    cache.get(1);
    await cache.load(4, BYTES, loads.fill);
    expect([1, 2, 3, 4].filter((key) => cache.get(key) !== undefined)).toEqual([1, 3, 4]);
  });

  it('loads no more at the same time than its limit, in the order of asking', async () => {
    const cache = new BlockCache(2 * BYTES);
    const loads = new Loads();
    const keys = [...Array(20).keys()];
    const found = await Promise.all(keys.map((key) => cache.load(key, BYTES, loads.fill)));
    expect(loads.most).toBe(2 * BYTES);
    expect(found.map(([byte]) => byte)).toEqual(keys.map((key) => key + 1));
  });

  it('with a limit of 0 loads one block after the other, and keeps none', async () => {
    const cache = new BlockCache(0);
    const loads = new Loads();
    await Promise.all([1, 2, 3].map((key) => cache.load(key, BYTES, loads.fill)));
    expect(loads.most).toBe(BYTES);
    expect(cache.get(3)).toBeUndefined();
  });

  it('tells everybody who waits when a load fails, and loads again for the next', async () => {
    const cache = new BlockCache(BYTES);
    const loads = new Loads();
    const fail = async (): Promise<void> => {
      await loads.fill(new Uint8Array(BYTES));
      throw new Error('damaged');
    };
    const asked = [1, 1, 2].map((key) => cache.load(key, BYTES, key === 1 ? fail : loads.fill));
    const settled = await Promise.allSettled(asked);
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    expect(cache.get(1)).toBeUndefined();
    await cache.load(1, BYTES, loads.fill);
    expect(cache.get(1)).toBeDefined();
  });
});
