/**
 * Searches of images for expressions, and with filters by kind and class.
 *
 * Invariants checked, for images of random small alphabets, with and without a parent, with runs or
 * single pages as blocks, compressed or not:
 * - the matches of an expression are those that a slow search finds, which tries one address after
 *   the other on as many bytes as a match may have; also where matches cross pages, blocks, units
 *   and workers, and where nearly every match crosses something
 * - they are the same for every number of workers, and the first ones are listed
 * - a filter by kind or class leaves out what lies in other pages, in part or as a whole
 * - an expression that looks beside its match, or matches nothing, is refused
 */
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  KiB,
  MiB,
  openImage,
  PAGE_SIZE,
  searchImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { bytesSlowly, expressionSlowly, searchedPages } from '../support/images/search-slowly.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;
const HEAP = 2 ** 40;
const PAGES = 10;
/** A flag that the compiler's target does not know. */
const SETS = 'v';

const EXPRESSIONS = [
  /ab/,
  /[ab]+/,
  /a+b|a/,
  /(a|b)\1/,
  /b\0*/,
  /[^\0]{2,7}/s,
  /.{3}/s,
  /AB/i,
  /a[^b]?/,
  /ÿ/,
];

let dumpers: readonly Dumper[] = [];

beforeAll(async () => {
  dumpers = await Promise.all([1, 3].map((workers) => createDumper({ workers })));
});

afterAll(() => Promise.all(dumpers.map((dumper) => dumper.close())));

/** What is written: bytes around the end of a page. */
const writeArbitrary = fc.record({
  page: fc.nat({ max: PAGES - 1 }),
  back: fc.integer({ min: -6, max: 12 }),
  text: fc
    .array(fc.constantFrom('a', 'a', 'b', '\0', 'ÿ', 'A'), { minLength: 1, maxLength: 16 })
    .map((letters) => letters.join('')),
});
type Write = typeof writeArbitrary extends fc.Arbitrary<infer T> ? T : never;

function newSpace(length: number): AddressSpace {
  const space = createMachine({ memory: 8 * MiB }).createAddressSpace();
  space.mmap({ prot: 'rw', flags: [...ANON.flags, 'fixed'], address: HEAP, length });
  return space;
}

function write(space: AddressSpace, { page, back, text }: Write): void {
  const bytes = Buffer.from(text, 'latin1');
  const at = Math.max(HEAP, HEAP + (page + 1) * PAGE_SIZE - back);
  if (at + bytes.length <= HEAP + PAGES * PAGE_SIZE) space.write(at, bytes);
}

describe('a search for an expression', () => {
  it(
    'finds what a slow search finds',
    async () => {
      let found = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.array(writeArbitrary, { minLength: 1, maxLength: 10 }),
          fc.array(writeArbitrary, { maxLength: 3 }),
          fc.constantFrom(...EXPRESSIONS),
          fc.constantFrom(1, 2, 3, 7, 5000),
          fc.constantFrom('run' as const, 'page' as const),
          fc.constantFrom('none' as const, HAS_ZSTD ? ('zstd' as const) : ('none' as const)),
          fc.nat({ max: PAGES - 1 }),
          async (before, after, expression, most, blocks, compress, guard) => {
            const space = newSpace(PAGES * PAGE_SIZE);
            const [one, three] = dumpers as [Dumper, Dumper];
            for (const each of before) write(space, each);
            const first = inMemory(await imageOf(one, space, { blocks, compress }));
            const parent = await openImage(first);
            for (const each of after) write(space, each);
            space.madvise(HEAP + guard * PAGE_SIZE, PAGE_SIZE, 'guard_install');
            const last = inMemory(await imageOf(one, space, { blocks, compress, parent }));
            const image = await openImage(last, { parents: [first] });
            const pages = await searchedPages(image);
            const expected = expressionSlowly(pages, expression, most);
            const options = { dumper: three, maxMatchBytes: most };
            const result = await searchImage(image, expression, options);
            expect(result).toMatchObject({ matches: expected, count: expected.length });
            const some = await searchImage(image, expression, {
              ...{ dumper: one, maxMatchBytes: most, maxMatches: 2 },
            });
            expect(some).toMatchObject({ matches: expected.slice(0, 2), count: expected.length });
            for (const kind of ['copy', 'parent', ['parent', 'zero', 'absent']] as const) {
              const kept = pages.filter((page) => [kind].flat().includes(page.kind as 'copy'));
              const filtered = await searchImage(image, expression, { ...options, kind });
              expect(filtered.matches).toEqual(expressionSlowly(kept, expression, most));
              const plain = await searchImage(image, 'ab', { dumper: three, kind });
              expect(plain.matches).toEqual(bytesSlowly(kept, Buffer.from('ab')));
            }
            const stored = pages.filter(({ kind }) => kind === 'copy' || kind === 'parent');
            const range = { address: HEAP, length: PAGES * PAGE_SIZE };
            const ofClass = await searchImage(image, expression, {
              ...{ ...options, class: 'copy', range },
            });
            expect(ofClass.matches).toEqual(expressionSlowly(stored, expression, most));
            found += expected.length;
            await image.close();
            await parent.close();
          },
        ),
        { numRuns: IS_LONG ? 1000 : 40 },
      );
      expect(found).toBeGreaterThan(40);
    },
    TIME_TO_SHRINK,
  );

  it.each([
    ['a match of three bytes is everywhere, so each unit ends inside one', /.{3}/s, 3],
    ['matches are as long as they may be', /[ab]+/, 1000],
    ['long matches follow each other', /a+/, 64 * KiB],
    ['matches are rare', /ab{9}a{3}/, 4096],
  ])('in several units: %s', async (_what, expression, most) => {
    const space = newSpace(3 * MiB);
    const bytes = Buffer.alloc(MiB + 40 * PAGE_SIZE);
    let seed = 7;
    for (let at = 0; at < bytes.length; at++) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      bytes[at] = seed >>> 31 === 0 ? 97 : 98;
    }
    bytes.fill(97, MiB - 100_000, MiB + 50_000);
    space.write(HEAP + 3 * PAGE_SIZE, bytes);
    const image = await openImage(inMemory(await imageOf(dumpers[0]!, space)));
    const expected = expressionSlowly(await searchedPages(image), expression, most);
    expect(expected.length).toBeGreaterThan(0);
    for (const dumper of dumpers) {
      const options = { dumper, maxMatchBytes: most };
      const all = await searchImage(image, expression, { ...options, maxMatches: 2 ** 22 });
      expect(all.count).toBe(expected.length);
      const same = all.matches.every(({ address, bytes: length }, index) => {
        return address === expected[index]?.address && length === expected[index]?.bytes;
      });
      expect(same).toBe(true);
      const some = await searchImage(image, expression, { ...options, maxMatches: 5 });
      expect(some).toMatchObject({ count: expected.length, matches: expected.slice(0, 5) });
    }
    await image.close();
  });

  it('ends when its time is over, whatever an expression does, and the dumper goes on', async () => {
    const space = newSpace(PAGES * PAGE_SIZE);
    space.fill(HEAP, PAGES * PAGE_SIZE, 0x61);
    for (const dumper of dumpers) {
      const image = await openImage(inMemory(await imageOf(dumper, space)));
      const endless = /([^x]|[^y])+zz/; // tries 2^4096 ways
      const late = { timeoutMs: 500 };
      const ofImage = dumper.search(image, endless, late);
      await expect(ofImage).rejects.toMatchObject({ code: 'TIMEOUT' });
      const ofSpace = dumper.searchSpaces(space, endless, late);
      await expect(ofSpace).rejects.toMatchObject({ code: 'TIMEOUT' });
      expect((await dumper.search(image, /a{8}/)).count).toBe((PAGES * PAGE_SIZE) / 8);
      await image.close();
    }
  });

  it('takes no expression that looks beside its match or matches nothing', async () => {
    const image = await openImage(inMemory(await imageOf(dumpers[0]!, newSpace(PAGE_SIZE))));
    const dumper = dumpers[0]!;
    const refused = [
      /^a/,
      /a$/,
      /\ba/,
      /a\B/,
      /a(?=b)/,
      /a(?!b)/,
      /(?<=b)a/,
      /(?<!b)a/,
      /a*/,
      /a?|b/,
    ];
    for (const expression of [...refused, /a/u, /a/y, new RegExp('a', SETS)]) {
      const search = searchImage(image, expression, { dumper });
      await expect(search, String(expression)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    }
    for (const expression of [/[\b^$]/, /\^\$\(\?=/, /(?:a)/, /(?<name>a)\k<name>/, /a/dgims]) {
      const result = await searchImage(image, expression, { dumper });
      expect(result.matches, String(expression)).toEqual([]);
    }
    const twice = searchImage(image, 'x', { range: { address: 0, length: 1 }, start: 1 });
    await expect(twice).rejects.toThrow(/either 'range'/);
    await image.close();
  });
});
