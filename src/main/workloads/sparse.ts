import type { AddressSpace } from '../../mmu/address-space.ts';
import type { Machine } from '../../mmu/machine.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import { writeRandomPages } from './dense.ts';
import type { Random } from './random.ts';

const PRESENT = 1000;

/** A large reservation in which 1000 pages, anywhere, are present (fewer if it has fewer). */
export function fillSparse(
  _machine: Machine,
  space: AddressSpace,
  size: number,
  random: Random,
): void {
  const flags = ['private', 'anonymous', 'noreserve'] as const;
  const start = space.mmap({ length: size, prot: 'rw', flags });
  const pages = Math.floor(size / PAGE_SIZE);
  const chosen = new Set<number>();
  while (chosen.size < Math.min(PRESENT, pages)) chosen.add(random.below(pages));
  for (const page of chosen) writeRandomPages(space, start + page * PAGE_SIZE, 1, random);
}
