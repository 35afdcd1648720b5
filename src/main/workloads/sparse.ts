import { PAGE_SIZE } from '../../shared/page.ts';
import { writeRandomPages } from './dense.ts';
import type { Site } from './site.ts';

const PRESENT = 1000;

/** Makes a large mapping in which 1000 random pages are present, or all if it has fewer. */
export async function fillSparse({ space, size, random, yielder }: Site): Promise<void> {
  const flags = ['private', 'anonymous', 'noreserve'] as const;
  const start = space.mmap({ length: size, prot: 'rw', flags });
  const pages = Math.floor(size / PAGE_SIZE);
  const chosen = new Set<number>();
  while (chosen.size < Math.min(PRESENT, pages)) chosen.add(random.below(pages));
  for (const page of chosen) {
    writeRandomPages(space, start + page * PAGE_SIZE, 1, random);
    await yielder.step(1);
  }
}
