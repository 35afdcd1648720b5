import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';
import type { FillYielder } from './fill-yielder.ts';
import type { Random } from './random.ts';
import type { Site } from './site.ts';

const PAGES_PER_STEP = 512;

/** Fills private anonymous memory: every page is written with random words. */
export async function fillDense({ space, size, random, yielder }: Site): Promise<void> {
  const start = space.mmap({ length: size, prot: 'rw', flags: ['private', 'anonymous'] });
  await writeYielding(space, start, Math.floor(size / PAGE_SIZE), random, yielder);
}

/** Writes `pages` pages from `start` on, and yields to the event loop now and then. */
export async function writeYielding(
  space: AddressSpace,
  start: number,
  pages: number,
  random: Random,
  yielder: FillYielder,
): Promise<void> {
  for (let page = 0; page < pages; page += PAGES_PER_STEP) {
    const count = Math.min(PAGES_PER_STEP, pages - page);
    writeRandomPages(space, start + page * PAGE_SIZE, count, random);
    await yielder.step(count);
  }
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
