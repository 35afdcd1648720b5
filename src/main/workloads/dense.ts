import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';
import type { Pace } from './pace.ts';
import type { Random } from './random.ts';
import type { Site } from './site.ts';

const PAGES_PER_STEP = 512;

/** Fills private anonymous memory: every page is written with random words. */
export async function fillDense({ space, size, random, pace }: Site): Promise<void> {
  const start = space.mmap({ length: size, prot: 'rw', flags: ['private', 'anonymous'] });
  await writePaced(space, start, Math.floor(size / PAGE_SIZE), random, pace);
}

/** Writes `pages` pages from `start` on, and lets other work have its turn now and then. */
export async function writePaced(
  space: AddressSpace,
  start: number,
  pages: number,
  random: Random,
  pace: Pace,
): Promise<void> {
  for (let page = 0; page < pages; page += PAGES_PER_STEP) {
    const count = Math.min(PAGES_PER_STEP, pages - page);
    writeRandomPages(space, start + page * PAGE_SIZE, count, random);
    await pace.step(count);
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
