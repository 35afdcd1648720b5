/**
 * Differences of images.
 *
 * Invariants checked, for two moments of random histories (writes, mappings, moves, protections,
 * forks, swapping, files), random options of both dumps, and the later image with or without the
 * earlier one as its parent:
 * - the mappings, the changed pages (with their first byte and the number of bytes) and the pages
 *   with another class are those of a slow reference that reads and compares page by page
 * - compared in the other order, the same pages have changed, and what was added was removed
 * - an image is the same as itself, and as another dump of the same moment with other blocks
 * - address spaces compared with an image differ as their own dump does
 */
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  type Dumper,
  diff,
  diffImages,
  type Image,
  type ImageDiff,
  type MappingSide,
  MmdumpError,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageOf, inMemory } from '../support/images/images.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';
import { referenceDiff } from '../support/reference/reference-diff.ts';
import {
  continueHistory,
  createHistory,
  historyArbitrary,
  stepsArbitrary,
} from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;

let dumpers: readonly Dumper[] = [];

beforeAll(async () => {
  dumpers = await Promise.all([1, 3].map((workers) => createDumper({ workers })));
});

afterAll(() => Promise.all(dumpers.map((dumper) => dumper.close())));

const choice = fc.record({
  checksum: fc.constantFrom('xxh3', 'xxh3', 'crc32', 'none'),
  blocks: fc.constantFrom('run', 'run', 'page'),
  zeroPages: fc.constantFrom('detect', 'detect', 'copy'),
  compress: fc.constantFrom('none', HAS_ZSTD ? 'zstd' : 'none'),
});

/** Moves of mappings, which random histories do not have. */
const movesArbitrary = fc.array(
  fc.record({
    vma: fc.nat({ max: 20 }),
    skip: fc.nat({ max: 2 }),
    more: fc.integer({ min: -2, max: 3 }),
  }),
  { maxLength: 3 },
);

/** Moves the rest of a mapping behind `skip` pages, and makes it longer or shorter by `more`. */
function move(
  space: AddressSpace,
  moves: readonly { readonly vma: number; readonly skip: number; readonly more: number }[],
): void {
  for (const [index, { vma, skip, more }] of moves.entries()) {
    const vmas = space.vmas();
    const from = vmas[vma % vmas.length];
    if (from === undefined) continue;
    const start = from.start + skip * PAGE_SIZE;
    const length = from.end - start;
    const to = 2 ** 45 + index * 2 ** 32;
    try {
      space.mremap(start, length, length + more * PAGE_SIZE, ['maymove', 'fixed'], to);
    } catch (error) {
      if (!(error instanceof MmdumpError)) throw error; // this mapping cannot be moved so
    }
  }
}

const POLICIES = { unsupported: 'skip', hugetlb: 'copy', dontDump: false } as const;

/** The changes of one mm, as the reference writes them: one line per page. */
function linesOf(found: ImageDiff, mm: number): unknown {
  const mappings = found.mms[mm]!.mappings.flatMap(({ kind, left, right }) =>
    pagesIn(left ?? right!).map((page) => {
      const places = [left, right].filter((side) => side !== null);
      return `${kind} ${places.map(({ start }) => start + page).join(' ')}`;
    }),
  );
  const changed = found.changedPages
    .filter((page) => page.mm === mm)
    .map((page) => `${page.left} ${page.right} ${page.firstByte} ${page.differentBytes}`);
  const reclassified = found.classChanges
    .filter((run) => run.mm === mm)
    .flatMap(({ left, right, pages, from, to, known }) =>
      Array.from({ length: pages }, (_, page) => {
        const bytes = page * PAGE_SIZE;
        return `${left + bytes} ${right + bytes} ${from} ${to} ${known}`;
      }),
    );
  return {
    mappings: mappings.sort(),
    changed: changed.sort(),
    reclassified: reclassified.sort(),
  };
}

function pagesIn({ start, end }: MappingSide): number[] {
  return Array.from({ length: (end - start) / PAGE_SIZE }, (_, page) => page * PAGE_SIZE);
}

async function assertIsReference(left: Image, right: Image, found: ImageDiff): Promise<void> {
  const both = found.mms.filter((mm) => mm.in === 'both');
  expect(both).toHaveLength(Math.min(left.mms().length, right.mms().length));
  for (const { mm, changed, reclassified } of both) {
    const expected = await referenceDiff(left, right, mm);
    expect(linesOf(found, mm)).toEqual(expected);
    expect(changed).toBe(expected.changed.length);
    expect(reclassified).toBe(expected.reclassified.length);
  }
}

describe('a comparison of images', () => {
  it(
    'finds what a comparison page by page finds',
    async () => {
      const seen = { changed: 0, moved: 0, reclassified: 0, protection: 0 };
      await fc.assert(
        fc.asyncProperty(
          historyArbitrary,
          fc.tuple(stepsArbitrary, movesArbitrary),
          choice,
          choice,
          fc.boolean(),
          async (recipe, [steps, moves], before, after, hasParent) => {
            const [one, three] = dumpers as [Dumper, Dumper];
            const history = createHistory(recipe);
            const options = { ...POLICIES, ...before };
            const first = inMemory(await imageOf(one, [history.space, ...history.others], options));
            const left = await openImage(first);
            continueHistory(history, steps);
            move(history.space, moves);
            const spaces = [history.space, ...history.others];
            const parent = hasParent ? left : undefined;
            const last = { ...POLICIES, ...after, parent };
            const right = await openImage(inMemory(await imageOf(three, spaces, last)), {
              parents: [first],
            });
            const found = await diffImages(left, right, { dumper: three });
            await assertIsReference(left, right, found);
            const back = await diffImages(right, left, { dumper: one });
            expect(back.changedPages).toHaveLength(found.changedPages.length);
            expect(back.same).toBe(found.same);
            for (const image of [left, right]) {
              const itself = await diffImages(image, image, { dumper: three });
              expect(itself).toMatchObject({ same: true, unlisted: 0 });
            }
            await assertSpacesDiffer(three, spaces, left);
            for (const kind of ['moved', 'protection'] as const) {
              const of = found.mms.flatMap(({ mappings }) => mappings);
              seen[kind] += of.filter((change) => change.kind === kind).length;
            }
            seen.changed += found.changedPages.length;
            seen.reclassified += found.classChanges.length;
            await left.close();
            await right.close();
            history.machine.close();
          },
        ),
        { numRuns: IS_LONG ? 1000 : 25 },
      );
      // Each kind of change has to come up, or the test would show little.
      expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([]);
    },
    TIME_TO_SHRINK,
  );
});

/** Compares spaces with an image, and their whole dump with it. */
async function assertSpacesDiffer(
  dumper: Dumper,
  spaces: Parameters<typeof diff>[0],
  left: Image,
): Promise<void> {
  const dumped = await openImage(inMemory(await imageOf(dumper, spaces, POLICIES)));
  const expected = await diffImages(left, dumped, { dumper });
  const found = await diff(spaces, left, { dumper });
  expect({ ...found, bytesRead: 0 }).toEqual({ ...expected, bytesRead: 0 });
  await dumped.close();
}
