import { PAGE_SIZE } from '../../shared/page.ts';
import { writeRandomPages } from './dense.ts';
import type { Site } from './site.ts';

const BASE = 0x1000_0000_0000;

/** Makes one mapping per page, with a hole of one page behind each, so that none can be merged. */
export async function fillManyMaps({ space, size, random, yielder }: Site): Promise<void> {
  const flags = ['private', 'anonymous', 'fixed'] as const;
  const maps = Math.floor(size / PAGE_SIZE);
  for (let map = 0; map < maps; map++) {
    const address = BASE + map * 2 * PAGE_SIZE;
    space.mmap({ address, length: PAGE_SIZE, prot: 'rw', flags });
    writeRandomPages(space, address, 1, random);
    await yielder.step(1);
  }
}
