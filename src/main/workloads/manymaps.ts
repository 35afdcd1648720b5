import type { AddressSpace } from '../../mmu/address-space.ts';
import type { Machine } from '../../mmu/machine.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { writeRandomPages } from './dense.ts';
import type { Random } from './random.ts';

const BASE = 0x1000_0000_0000;

/** One mapping per page, with a hole of a page behind each, so that none can be merged. */
export function fillManyMaps(
  _machine: Machine,
  space: AddressSpace,
  size: number,
  random: Random,
): void {
  const flags = ['private', 'anonymous', 'fixed'] as const;
  const maps = Math.floor(size / PAGE_SIZE);
  for (let map = 0; map < maps; map++) {
    const address = BASE + map * 2 * PAGE_SIZE;
    space.mmap({ address, length: PAGE_SIZE, prot: 'rw', flags });
    writeRandomPages(space, address, 1, random);
  }
}
