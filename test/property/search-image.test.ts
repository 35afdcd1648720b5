/**
 * Searches of images.
 *
 * Invariants checked, for images of random histories and of random small alphabets, with and without
 * a parent, with runs or single pages as blocks:
 * - the matches are those that a slow search finds in the bytes that `read` shows, page by page, of
 *   which at least one byte is in a page that is stored
 * - they are the same for every number of workers, and the first ones are listed
 * - a range and a protection leave out what lies outside of them
 */
import fc from 'fast-check';
import {
  createDumper,
  createMachine,
  type Dumper,
  explainImagePage,
  type Image,
  type Match,
  MiB,
  openImage,
  PAGE_SIZE,
  searchImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;
const HEAP = 2 ** 40;
const PAGES = 12;

let dumpers: readonly Dumper[] = [];

beforeAll(async () => {
  dumpers = await Promise.all([1, 3].map((workers) => createDumper({ workers })));
});

afterAll(() => Promise.all(dumpers.map((dumper) => dumper.close())));

/** What is written: a few bytes at or near the end of a page, so that matches cross pages. */
const writeArbitrary = fc.record({
  page: fc.nat({ max: PAGES - 1 }),
  back: fc.integer({ min: -6, max: 6 }),
  bytes: fc.array(fc.constantFrom(0, 1, 1, 2), { minLength: 1, maxLength: 8 }),
});

interface Page {
  readonly address: number;
  readonly bytes: Buffer | null;
  readonly isStored: boolean;
  readonly isWritable: boolean;
}

async function pagesOf(image: Image): Promise<Page[]> {
  const pages: Page[] = [];
  for (const { start, end, flags } of image.vmas()) {
    for (let address = start; address < end; address += PAGE_SIZE) {
      const { reads } = await explainImagePage(image, address);
      const bytes = reads === 'nothing' ? null : Buffer.alloc(PAGE_SIZE);
      if (bytes !== null) await image.read(address, bytes);
      pages.push({ address, bytes, isStored: reads === 'stored', isWritable: (flags & 2) !== 0 });
    }
  }
  return pages;
}

/** Every match, byte by byte. */
function slowly(pages: readonly Page[], pattern: Uint8Array): Match[] {
  const known = new Map(pages.map((page) => [page.address, page]));
  const matches: Match[] = [];
  for (const { address: start } of pages) {
    for (let address = start; address < start + PAGE_SIZE; address++) {
      let isStored = false;
      const isMatch = pattern.every((byte, index) => {
        const at = (address + index) % PAGE_SIZE;
        const page = known.get(address + index - at);
        if (page?.isStored === true) isStored = true;
        return page?.bytes?.[at] === byte;
      });
      if (isMatch && isStored) matches.push({ mm: 0, address, bytes: pattern.length });
    }
  }
  return matches;
}

describe('searchImage', () => {
  it(
    'finds what a slow search finds',
    async () => {
      let found = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.array(writeArbitrary, { minLength: 1, maxLength: 8 }),
          fc.array(writeArbitrary, { maxLength: 3 }),
          fc.array(fc.constantFrom(0, 1, 1, 2), { minLength: 1, maxLength: 5 }),
          fc.constantFrom('run' as const, 'page' as const),
          fc.constantFrom('none' as const, HAS_ZSTD ? ('zstd' as const) : ('none' as const)),
          fc.nat({ max: PAGES - 1 }),
          async (before, after, wanted, blocks, compress, readOnly) => {
            fc.pre(wanted.some((byte) => byte !== 0)); // zeros match nearly everywhere
            const machine = createMachine({ memory: 4 * MiB });
            const space = machine.createAddressSpace();
            const flags = [...ANON.flags, 'fixed'] as const;
            space.mmap({ prot: 'rw', flags, address: HEAP, length: PAGES * PAGE_SIZE });
            const write = ({ page, back, bytes }: (typeof before)[number]): void => {
              const at = Math.max(HEAP, HEAP + (page + 1) * PAGE_SIZE - back - 8);
              if (at + bytes.length > HEAP + PAGES * PAGE_SIZE) return;
              space.write(at, Uint8Array.from(bytes));
            };
            const [one, three] = dumpers as [Dumper, Dumper];
            before.forEach(write);
            const first = inMemory(await imageOf(one, space, { blocks, compress }));
            const parent = await openImage(first);
            after.forEach(write);
            space.mprotect(HEAP + readOnly * PAGE_SIZE, PAGE_SIZE, 'r');
            const last = inMemory(await imageOf(one, space, { blocks, compress, parent }));
            const image = await openImage(last, { parents: [first] });
            const pattern = Uint8Array.from(wanted);
            const pages = await pagesOf(image);
            const expected = slowly(pages, pattern);
            const result = await searchImage(image, pattern, { dumper: three });
            expect(result).toMatchObject({ matches: expected, count: expected.length });
            const some = await searchImage(image, pattern, { dumper: one, maxMatches: 2 });
            expect(some).toMatchObject({ matches: expected.slice(0, 2), count: expected.length });
            const writable = pages.filter(({ isWritable }) => isWritable);
            const { matches } = await searchImage(image, pattern, { dumper: one, prot: 'rw' });
            expect(matches).toEqual(slowly(writable, pattern));
            const [start, end] = [HEAP + 2 * PAGE_SIZE - 3, HEAP + 7 * PAGE_SIZE + 1];
            const inside = await searchImage(image, pattern, { dumper: three, start, end });
            expect(inside.matches).toEqual(
              expected.filter(
                (each) => each.address >= start && each.address + wanted.length <= end,
              ),
            );
            found += expected.length;
            await image.close();
            await parent.close();
            machine.close();
          },
        ),
        { numRuns: IS_LONG ? 1000 : 40 },
      );
      expect(found).toBeGreaterThan(40);
    },
    TIME_TO_SHRINK,
  );
});
