/**
 * Walks through address spaces.
 *
 * Invariants checked, for random histories (files, forks, swapping, damaged page tables), one mm or
 * several:
 * - each page has the class that `explainPage` says of it, page by page, also absent ones
 * - runs are the same pages, as many to a run as there are
 * - filters by range, protection and class leave out what the slow walk would leave out
 * - without damage an image of the address spaces says the same of every page
 * - the machine runs while the caller looks at a run, and stands still under a freeze of the caller
 */
import fc from 'fast-check';
import {
  createDumper,
  createMachine,
  type Dumper,
  explainPage,
  MiB,
  openImage,
  PAGE_SIZE,
  type SpaceFilter,
  type SpacePage,
  spacePages,
  spaceRuns,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { CORRUPTIONS, corrupt } from '../support/reference/reference-corruptions.ts';
import {
  createHistory,
  type HistoryRecipe,
  historyArbitrary,
  SWAPPED,
} from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;
const CLASSES = ['absent', 'copy', 'zero', 'clone', 'unsupported', 'guard'] as const;
/** Pages of one mapping that are explained: its first ones, and its last ones. */
const PAGES_MOST = 24;

let dumper: Dumper;

beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
});

afterAll(() => dumper.close());

const damageArbitrary = fc.record({
  kind: fc.constantFrom(...CORRUPTIONS),
  vma: fc.nat({ max: 20 }),
  page: fc.nat({ max: 15 }),
  choice: fc.nat({ max: 100 }),
});

async function all<T>(walk: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of walk) found.push(each);
  return found;
}

const textOf = ({ address, class: name }: Pick<SpacePage, 'address' | 'class'>): string =>
  `${address.toString(16)} ${name}`;

/** Has pages of every class that is asked for below, on any machine, once it is damaged. */
const EACH_CLASS: HistoryRecipe = {
  ...SWAPPED,
  steps: [
    ...SWAPPED.steps,
    { op: 'zero', vma: 0, page: 10, count: 1, value: 1, within: 0 },
    { op: 'write', vma: 0, page: 2, count: 1, value: 1, within: 0 },
  ],
};
const DAMAGE = { kind: 'beyond memory', vma: 0, page: 1, choice: 0 } as const;

describe('the walks of an address space', () => {
  it(
    'give what explainPage says page by page',
    async () => {
      const seen = new Set<string>();
      await fc.assert(
        fc.asyncProperty(
          historyArbitrary,
          fc.array(damageArbitrary, { maxLength: 2 }),
          fc.nat(),
          fc.constantFrom('' as const, 'r' as const, 'rw' as const, 'x' as const),
          fc.subarray([...CLASSES], { minLength: 1 }),
          async (recipe, damages, place, prot, classes) => {
            const history = createHistory(recipe);
            for (const damage of damages) corrupt(history, damage);
            const spaces = [history.space, ...history.others];
            for (const [mm, space] of spaces.entries()) {
              const pages = await all(spacePages(spaces, { mm, class: CLASSES }));
              const byAddress = new Map(pages.map((page) => [page.address, page]));
              let count = 0;
              for (const vma of space.vmas()) {
                const { start, end } = vma;
                count += (end - start) / PAGE_SIZE;
                for (let address = start; address < end; address += PAGE_SIZE) {
                  const page = byAddress.get(address);
                  expect(page?.vma).toEqual(vma);
                  if (Math.min(address - start, end - address) > PAGES_MOST * PAGE_SIZE) continue;
                  const found = await explainPage(spaces, address, { mm });
                  expect(page?.class, `mm ${mm}, ${address.toString(16)}`).toBe(found.class);
                  seen.add(found.class);
                }
              }
              expect(pages.length).toBe(count);
              const address = (pages[place % Math.max(1, pages.length)]?.address ?? 5000) - 700;
              const range = { address, length: 9000 };
              const filters: SpaceFilter[] = [{}, { range }, { prot, class: classes }];
              for (const filter of filters) {
                const expected = pages.filter((page) => {
                  if (prot !== '' && filter.prot === prot) {
                    const letters = page.vma.prot;
                    if (![...prot].every((letter) => letters.includes(letter))) return false;
                  }
                  const isInside = page.address < address + 9000 && page.address + 4096 > address;
                  if (filter.range !== undefined && !isInside) return false;
                  const wanted = filter.class ?? CLASSES.slice(1);
                  return (wanted as readonly string[]).includes(page.class);
                });
                const runs = await all(spaceRuns(spaces, { ...filter, mm }));
                const ofRuns = runs.flatMap((run) =>
                  Array.from({ length: run.pages }, (_, page) =>
                    textOf({ ...run, address: run.address + page * PAGE_SIZE }),
                  ),
                );
                expect(ofRuns).toEqual(expected.map(textOf));
                for (const [index, run] of runs.entries()) {
                  const next = runs[index + 1];
                  if (next?.address !== run.address + run.pages * PAGE_SIZE) continue;
                  expect(next.class !== run.class || next.vma.start !== run.vma.start).toBe(true);
                }
              }
            }
            if (damages.length === 0) {
              const options = { unsupported: 'skip', hugetlb: 'copy' } as const;
              const image = await openImage(inMemory(await imageOf(dumper, spaces, options)));
              for (const mm of spaces.keys()) {
                const stored = ['copy', 'zero', 'clone', 'guard'] as const;
                const inImage = await all(image.pages({ mm, kind: stored }));
                const inSpace = await all(spacePages(spaces, { mm, class: stored }));
                expect(inSpace.map(textOf)).toEqual(
                  inImage.map(({ address, kind }) => `${address.toString(16)} ${kind}`),
                );
              }
              await image.close();
            }
            history.machine.close();
          },
        ),
        { numRuns: IS_LONG ? 500 : 10, examples: [[EACH_CLASS, [DAMAGE], 0, '', [...CLASSES]]] },
      );
      for (const name of ['absent', 'copy', 'zero', 'unsupported'])
        expect([...seen]).toContain(name);
    },
    TIME_TO_SHRINK,
  );

  it('lets the machine run while the caller looks at a run', async () => {
    const machine = createMachine({ memory: 8 * MiB });
    const space = machine.createAddressSpace();
    const heap = space.mmap({ ...ANON, length: 100 * MiB });
    const child = space.fork();
    // One page in each of 40 granules: more than are looked at in one step.
    for (let at = 0; at < 80 * MiB; at += 2 * MiB) space.write(heap + at, Buffer.from('x'));
    const found: number[] = [];
    for await (const { address, pages } of spaceRuns(space, { class: 'copy' })) {
      expect(pages).toBe(1);
      found.push(address - heap);
      if (found.length === 1) space.write(heap + 90 * MiB, Buffer.from('y'));
    }
    expect(found).toEqual([...Array.from({ length: 40 }, (_, at) => at * 2 * MiB), 90 * MiB]);
    for await (const { address } of spaceRuns([child, space], { mm: 1 })) {
      expect(address).toBe(heap);
      break; // the machine is not held afterwards
    }
    space.write(heap, Buffer.from('z'));
    const freeze = await machine.freeze();
    expect((await all(spacePages(space))).length).toBe(41);
    freeze.thaw();
    child.exit();
    await expect(all(spaceRuns([space, child]))).rejects.toMatchObject({ code: 'MM_GONE' });
    expect(() => spaceRuns(space, { mm: 1 })).toThrow(/there are 1 address spaces/);
    machine.close();
  });
});
