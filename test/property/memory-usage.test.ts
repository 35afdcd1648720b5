/**
 * Invariants checked, for the pages that mms show, share and have alone:
 * - for the frames of a simulated family, found by the slowest walk over its tables: the image
 *   gives the same totals, in whatever order the mms are dumped
 * - for the images of random families: the totals equal those of asking for every page of every mm
 *   where its bytes lie in the image
 * - the report of the dump gives the same totals as the image
 */
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  type Dumper,
  type FamilyUsage,
  type Image,
  type ImageMm,
  memorySink,
  memoryUsage,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PG } from '../../src/mmu/physical/page-struct.ts';
import { VM } from '../../src/shared/vm-flags.ts';
import { createFamily, type Family } from '../support/machine/family-model.ts';
import { leaves } from '../support/machine/invariants.ts';
import { createHistory, historyArbitrary } from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

/** The totals for sets of pages, one set per mm, computed from the definition. */
function usageOf(shown: readonly ReadonlySet<string>[]): FamilyUsage {
  const users = new Map<string, number>();
  for (const pages of shown) for (const page of pages) users.set(page, (users.get(page) ?? 0) + 1);
  const mms = shown.map((pages) => {
    const each = [...pages].map((page) => users.get(page)!);
    // Sums by number of users, so that three thirds add up to exactly one.
    const counts = new Map<number, number>();
    for (const count of each) counts.set(count, (counts.get(count) ?? 0) + 1);
    const pss = [...counts].reduce((sum, [count, found]) => sum + (found * PAGE_SIZE) / count, 0);
    const unique = (counts.get(1) ?? 0) * PAGE_SIZE;
    return { rss: pages.size * PAGE_SIZE, pss: Math.round(pss), unique };
  });
  const all = mms.reduce((sum, { rss }) => sum + rss, 0);
  return { mms, savedBytes: all - users.size * PAGE_SIZE };
}

async function dumped(
  spaces: readonly AddressSpace[],
): Promise<{ readonly image: Image; readonly reported: FamilyUsage }> {
  const sink = memorySink();
  const options = { hugetlb: 'copy', unsupported: 'skip' } as const;
  const { mms, savedBytes } = await dumper.dump(spaces, { to: sink, ...options });
  const reported = mms.map(({ rss, pss, unique }) => ({ rss, pss, unique }));
  return { image: await openImage(sink.image), reported: { mms: reported, savedBytes } };
}

/** Frames that are not zero: anonymous ones, and those of the memory that all mms share. */
function framesShown({ machine, spaces, starts }: Family, order: readonly number[]): Set<string>[] {
  const shared = new Set<string>();
  const { end } = spaces[0]!.vmas().find(({ start }) => start === starts.shared)!;
  // A page of the shared memory has leaves only in mms that touched it, but all mms show it.
  const all = spaces.map((space) => {
    const own = new Set<string>();
    for (const { vpn, pfn } of leaves(machine as never, space as never)) {
      const address = vpn * PAGE_SIZE;
      if (machine.parts.memory.page(pfn as never).every((byte) => byte === 0)) continue;
      const isShared = address >= starts.shared && address < end;
      if (isShared) shared.add(`shared ${pfn}`);
      else if ((machine.parts.pages.flags(pfn) & PG.ANON) !== 0) own.add(`own ${pfn}`);
    }
    return own;
  });
  return order.map((mm) => new Set([...all[mm]!, ...shared]));
}

/**
 * Finds the byte of the image where the page of an mm lies, searching every mm; null if none has
 * it.
 */
function placeOf(image: Image, mm: ImageMm, address: number): number | null {
  const { kind, offset, vma } = image.page(address, { mm: mm.ordinal });
  if (kind === 'clone') {
    const donor = image.mmAt(mm.blocks.find(address / PAGE_SIZE)!.source)!;
    return image.page(address, { mm: donor.ordinal }).offset;
  }
  if (kind !== 'absent' || vma === null || vma.file === null) return offset;
  if (!vma.file.isMemoryBacked && !vma.file.isDeleted) return null;
  if ((vma.flags & (VM.IO | VM.PFNMAP)) !== 0) return null;
  const index = vma.pgoff + (address - vma.start) / PAGE_SIZE;
  for (const other of image.mms()) {
    for (const each of other.vmas) {
      const at = each.start + (index - each.pgoff) * PAGE_SIZE;
      if (each.file?.id !== vma.file.id || at < each.start || at >= each.end) continue;
      const block = other.blocks.find(at / PAGE_SIZE);
      const isFiles = (each.flags & VM.MAYSHARE) !== 0 || block?.isFilePages === true;
      const place = image.page(at, { mm: other.ordinal }).offset;
      if (isFiles && place !== null) return place;
    }
  }
  return null;
}

function placesShown(image: Image): Set<string>[] {
  return image.mms().map((mm) => {
    const places = new Set<string>();
    for (const { start, end } of mm.vmas) {
      for (let address = start; address < end; address += PAGE_SIZE) {
        const place = placeOf(image, mm, address);
        if (place !== null) places.add(String(place));
      }
    }
    return places;
  });
}

describe('what mms show, share and have alone', () => {
  it.each([[[0, 1, 2]], [[2, 0, 1]], [[1, 2]], [[2]]])(
    'is what the frames of the family say: mms %j',
    async (order) => {
      const family = createFamily();
      const { image, reported } = await dumped(order.map((mm) => family.spaces[mm]!));
      const expected = usageOf(framesShown(family, order));
      expect(memoryUsage(image)).toEqual(expected);
      expect(reported).toEqual(expected);
      expect(expected.savedBytes > 0).toBe(order.length > 1);
    },
  );

  it('is what the places of all pages in the image say, for any history', async () => {
    let saved = 0;
    await fc.assert(
      fc.asyncProperty(historyArbitrary, async (recipe) => {
        const { space, others } = createHistory(recipe);
        const { image, reported } = await dumped([space, ...others]);
        const expected = usageOf(placesShown(image));
        expect(memoryUsage(image)).toEqual(expected);
        expect(reported).toEqual(expected);
        saved += expected.savedBytes;
      }),
      { numRuns: IS_LONG ? 1000 : 50 },
    );
    expect(saved).toBeGreaterThan(0);
  });
});
