import { describe, expect, it } from 'vitest';
import { BlockCache, type Fill } from '../../../src/main/image/read/block-cache.ts';
import { randomOf } from '../../support/images/image-mutations.ts';

const BYTES = 100;

/** Counts the loads, and the bytes that are being loaded at the same time. */
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

/** Reads a block, and returns its first byte as of the time when the cache returned it. */
async function readByte(cache: BlockCache, key: number, fill: Fill): Promise<number> {
  let byte = -1;
  await cache.read(key, BYTES, fill, (payload) => {
    byte = payload[0]!;
  });
  return byte;
}

describe('the cache of blocks', () => {
  it('reads a block once for all who ask for it at the same time, and afterwards', async () => {
    const cache = new BlockCache(3 * BYTES);
    const loads = new Loads();
    const read = () => readByte(cache, 1, loads.fill);
    expect(await Promise.all([read(), read(), read()])).toEqual([1, 1, 1]);
    expect(await read()).toBe(1);
    expect(cache.get(1)?.[0]).toBe(1);
    expect(loads.count).toBe(1);
  });

  it('keeps the blocks that were used last, up to its limit', async () => {
    const cache = new BlockCache(3 * BYTES);
    const loads = new Loads();
    for (const key of [1, 2, 3]) await readByte(cache, key, loads.fill);
    cache.get(1);
    await readByte(cache, 4, loads.fill);
    expect([1, 2, 3, 4].filter((key) => cache.get(key) !== undefined)).toEqual([1, 3, 4]);
    cache.clear();
    expect(cache.get(4)).toBeUndefined();
  });

  it('reads no more at the same time than its limit, in the order of asking', async () => {
    const cache = new BlockCache(2 * BYTES);
    const loads = new Loads();
    const keys = [...Array(20).keys()];
    const found = await Promise.all(keys.map((key) => readByte(cache, key, loads.fill)));
    expect(loads.most).toBe(2 * BYTES);
    expect(found).toEqual(keys.map((key) => key + 1));
  });

  it('gives everybody the block that he asked for, though buffers are used again', async () => {
    const random = randomOf(3, 0);
    for (const limit of [0, 1, 2, 5]) {
      const cache = new BlockCache(limit * BYTES);
      const reads = [...Array(200)].map(async () => {
        const key = random.below(7);
        for (let turn = random.below(9); turn > 0; turn--) await undefined;
        const fill = async (payload: Uint8Array): Promise<void> => {
          for (let turn = random.below(9); turn > 0; turn--) await undefined;
          payload.fill(key);
        };
        return [key, await readByte(cache, key, fill)] as const;
      });
      for (const [key, byte] of await Promise.all(reads)) expect(byte).toBe(key);
    }
  });

  it('with a limit of 0 reads one block after the other, and keeps none', async () => {
    const cache = new BlockCache(0);
    const loads = new Loads();
    await Promise.all([1, 2, 3].map((key) => readByte(cache, key, loads.fill)));
    expect(loads.most).toBe(BYTES);
    expect(cache.get(3)).toBeUndefined();
  });

  it('tells everybody who waits when a read fails, and reads again for the next', async () => {
    const cache = new BlockCache(BYTES);
    const loads = new Loads();
    const fail = async (payload: Uint8Array): Promise<void> => {
      await loads.fill(payload);
      throw new Error('damaged');
    };
    const asked = [1, 1, 2].map((key) => readByte(cache, key, key === 1 ? fail : loads.fill));
    const settled = await Promise.allSettled(asked);
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    expect(cache.get(1)).toBeUndefined();
    expect(await readByte(cache, 1, loads.fill)).toBe(3);
  });
});
