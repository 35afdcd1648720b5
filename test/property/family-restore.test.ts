/**
 * Invariants checked, for the images of random families (mappings of every kind, forks, swap,
 * merged and guard pages):
 * - a restored machine is sound: counts, indexes and mappings match its tables
 * - every mm shows what the image says, page by page, and has the mappings of the image
 * - clones are shared frames: no more frames are used than the image has pages of data
 * - once the mms are gone, so are their frames and swap slots
 */
import fc from 'fast-check';
import { createDumper, createMachine, type Dumper, type Image, MiB, openImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkRestored } from '../../src/main/load/check-restored.ts';
import { checkUntil } from '../support/check-until.ts';
import { imageOf, inMemory } from '../support/images/images.ts';
import { assertTablesTrue, leaves } from '../support/machine/invariants.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';
import { createHistory, historyArbitrary } from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

function storedPages(image: Image, what: 'copy' | 'clone'): number {
  const vmas = image.mms().flatMap((mm) => mm.vmas);
  return vmas.reduce((sum, { pages }) => sum + pages[what], 0);
}

describe('a family of any history', () => {
  it('comes back as its image says', async () => {
    let clones = 0;
    await checkUntil(
      fc.asyncProperty(historyArbitrary, fc.boolean(), async (recipe, isReversed) => {
        const { space, others } = createHistory(recipe);
        const spaces = isReversed ? [...others, space] : [space, ...others];
        const options = { hugetlb: 'copy', unsupported: 'skip' };
        const image = await openImage(inMemory(await imageOf(dumper, spaces, options)));
        const target = createMachine({
          memory: 32 * MiB,
          maxAddressSpaces: 3,
          checks: true,
          zeroPage: ZERO_PAGE,
        });
        const { free } = target.memory;
        const { mms } = await dumper.restore(image, target);
        // Only the vdso's pages may have no mapping.
        const hasVdso = mms.some((mm) => mm.vmas().some(({ isVdso }) => isVdso));
        if (!hasVdso) assertTablesTrue(target as never);
        expect(await checkRestored(image as never, mms as never)).toMatchObject({ equal: true });
        const shared = mms.flatMap((mm) => leaves(target as never, mm as never));
        const present = shared.filter(({ low }) => (low & 0x101) !== 0);
        const frames = new Set(present.map(({ pfn }) => pfn));
        frames.delete(1); // the zero page
        const zeros = image.mms().flatMap(({ vmas }) => vmas.map(({ pages }) => pages.zero));
        const most = storedPages(image, 'copy') + zeros.reduce((sum, pages) => sum + pages, 0);
        expect(frames.size).toBeLessThanOrEqual(most);
        clones += storedPages(image, 'clone');
        for (const mm of mms) mm.exit();
        assertTablesTrue(target as never);
        expect(target.memory.free).toBe(free);
      }),
      { runs: IS_LONG ? 1500 : 80 },
      () => (clones > 0 ? [] : ['clones']),
    );
  });
});
