import type { AddressSpace } from '../../mmu/address-space.ts';
import type { Machine } from '../../mmu/machine.ts';
import { PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';
import type { Random } from './random.ts';

/** Private anonymous memory, every page written with random words. */
export function fillDense(
  _machine: Machine,
  space: AddressSpace,
  size: number,
  random: Random,
): void {
  const start = space.mmap({ length: size, prot: 'rw', flags: ['private', 'anonymous'] });
  writeRandomPages(space, start, Math.floor(size / PAGE_SIZE), random);
}

/** Writes `pages` pages from `start` on, each with random words. */
export function writeRandomPages(
  space: AddressSpace,
  start: number,
  pages: number,
  random: Random,
): void {
  const words = new Int32Array(WORDS_PER_PAGE);
  const bytes = new Uint8Array(words.buffer);
  for (let page = 0; page < pages; page++) {
    random.fill(words);
    space.write(start + page * PAGE_SIZE, bytes);
  }
}
