/** Rows of the jobs that read images: search, diff, and the prefetch of a restore on demand. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createWorkload, fileSink, type Image, openImage, PAGE_SIZE } from 'mmdump';
import { inMemory } from '../support/images/images.ts';
import { BOTH, imageOf, type Lab } from './lab.ts';
import { NOTHING, type Row } from './matrix.ts';
import { emptyMachine, LARGE, type OpenJob, rowsOf } from './other-rows.ts';

/** Bytes between two pages that differ: every unit of a diff has some. */
const BETWEEN = 64 * PAGE_SIZE;

/** Two images, one of which has other bytes in a page of every 64. */
async function twoImages(lab: Lab): Promise<{ readonly left: Image; readonly right: Image }> {
  const { machine, space } = await createWorkload('dense', { size: LARGE });
  const left = await openImage(inMemory(await imageOf(lab.pair, space)));
  for (const { start, end } of space.vmas()) {
    for (let at = start; at < end; at += BETWEEN) space.fill(at, 1, 0xff);
  }
  const right = await openImage(inMemory(await imageOf(lab.pair, space)));
  machine.close();
  return { left, right };
}

const diffJob: OpenJob = async (lab) => {
  const { left, right } = await twoImages(lab);
  const run = () => lab.pair.diffImages(left, right);
  const expected = JSON.stringify(await run());
  return {
    phase: 'diff',
    name: 'two images',
    workers: BOTH,
    run,
    left: async () => (JSON.stringify(await run()) === expected ? NOTHING : 'another difference'),
    async close() {
      await left.close();
      await right.close();
    },
  };
};

const searchJob: OpenJob = async (lab) => {
  const { left, right } = await twoImages(lab);
  await left.close();
  const run = () => lab.pair.search(right, Uint8Array.of(0xff, 0xff));
  const expected = JSON.stringify(await run());
  return {
    phase: 'search',
    name: 'an image',
    workers: BOTH,
    run,
    left: async () => (JSON.stringify(await run()) === expected ? NOTHING : 'other matches'),
    close: () => right.close(),
  };
};

/** The pages that a restore has left in the image, which are all of them, are loaded by all workers. */
const prefetchJob: OpenJob = async (lab) => {
  const path = join(lab.folder, 'image.cpt');
  const { machine, space } = await createWorkload('dense', { size: LARGE });
  await lab.pair.dump(space, { to: fileSink(path) });
  const empty = emptyMachine(lab);
  return {
    ...empty,
    phase: 'load',
    name: 'prefetch',
    workers: BOTH,
    async run() {
      await using image = await openImage(path);
      const { mms, release } = await lab.pair.restore(image, empty.machine, { load: 'on-demand' });
      try {
        await mms[0]!.prefetch();
      } catch (error) {
        // The pages that were not loaded come when they are asked for.
        const { equal } = await lab.pair.compare(space, mms[0]!);
        if (!equal) throw new Error('other bytes after a prefetch that failed');
        await mms[0]!.prefetch();
        throw error;
      } finally {
        for (const restored of mms) restored.exit();
        await release();
      }
    },
    async close() {
      machine.close();
      rmSync(path);
    },
  };
};

export function imageRows(lab: Lab): Row[] {
  return [
    ...rowsOf(lab, 'search', 'an image', searchJob),
    ...rowsOf(lab, 'diff', 'two images', diffJob),
    ...rowsOf(lab, 'load', 'prefetch', prefetchJob),
  ];
}
