import { describe, expect, it } from 'vitest';
import { RwLock } from '../../../src/shared/sync/rw-lock.ts';
import { Explorer } from '../../support/interleavings.ts';
import { rwSystem } from '../../support/rw-lock-scenario.ts';

describe('x', () => {
  it.each(['W|W', 'W|R', 'R|R|W', 'W|R|W', 'W|W|W','W W|R R', 'tW|W', 'tW|tR|W', 'aW|R|W', 'tW tW|R W'])('%s', async (text) => {
    for (const wakesByItself of [false, true]) {
    const t0 = performance.now();
    const e = await new Explorer(await rwSystem({ programs: text.split('|'), lockClass: RwLock, wakesByItself })).explore();
    console.log(text, e, performance.now() - t0);
    }
  });
  it.each(['W|W', 'W|R', 'R|W', 'R|R|W', 'W|R|W'])('killed %s', async (text) => {
    const t0 = performance.now();
    const e = await new Explorer(await rwSystem({ programs: text.split('|'), lockClass: RwLock, victim: 0 })).explore();
    console.log(text, e, performance.now() - t0);
  });
});
