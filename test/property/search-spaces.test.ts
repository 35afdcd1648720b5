/**
 * Searches of address spaces.
 *
 * Invariants checked, for random histories (files, forks, swapping, guard pages), one mm or several:
 * - bytes and expressions are found where a search of an image of the same address spaces finds them,
 *   which other tests compare with a slow search
 * - so it is for pages that lie in an image, in memory of the caller that is not shared, and across
 *   granules, for every number of workers
 * - a range, a protection and the choice of an mm leave out what lies outside of them
 * - nothing faults in, and the machine goes on afterwards
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  fileSink,
  type Image,
  MiB,
  openImage,
  PAGE_SIZE,
  type SearchResult,
  searchSpaces,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import { createHistory, historyArbitrary } from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;
const HEAP = 2 ** 40;
const POLICIES = { unsupported: 'copy', hugetlb: 'copy', dontDump: false } as const;

let dumpers: readonly Dumper[] = [];
let folder = '';

beforeAll(async () => {
  dumpers = await Promise.all([1, 3].map((workers) => createDumper({ workers })));
  folder = mkdtempSync(join(tmpdir(), 'mmdump-search-'));
});

afterAll(async () => {
  await Promise.all(dumpers.map((dumper) => dumper.close()));
  rmSync(folder, { recursive: true });
});

/** What both kinds of search have in common: they need not look at the same number of bytes. */
const shownBy = ({ matches, count }: SearchResult) => ({ matches, count });

/** Some bytes that the image stores, which mostly cross the end of a page. */
async function sample(image: Image, seeds: readonly number[]): Promise<Uint8Array[]> {
  const samples: Uint8Array[] = [];
  for (const seed of seeds) {
    const mm = image.mms()[seed % image.mms().length]!;
    const addresses: number[] = [];
    for await (const { address } of image.pages({ mm: mm.ordinal, class: 'copy' })) {
      addresses.push(address);
    }
    if (addresses.length === 0) continue;
    const at = addresses[seed % addresses.length]! + (seed % 3 === 0 ? PAGE_SIZE - 2 : 0);
    const bytes = new Uint8Array(1 + (seed % 5));
    try {
      await image.read(at, bytes, { mm: mm.ordinal });
      if (bytes.some((byte) => byte !== 0)) samples.push(bytes);
    } catch {
      // it runs into a page that is not known
    }
  }
  return samples;
}

describe('searchSpaces', () => {
  it(
    'finds what a search of an image of the address spaces finds',
    async () => {
      let found = 0;
      await fc.assert(
        fc.asyncProperty(
          historyArbitrary,
          fc.array(fc.nat(), { minLength: 3, maxLength: 5 }),
          fc.constantFrom(/[^\0]{3}/s, /.\0*[^\0]/s, /[!-~]+\0/, /\xff|([^\0])\1/),
          fc.constantFrom(2, 5, 4096, 10_000),
          async (recipe, seeds, expression, maxMatchBytes) => {
            const history = createHistory(recipe);
            const spaces = [history.space, ...history.others];
            const bytes = await imageOf(dumpers[0]!, spaces, POLICIES);
            const image = await openImage(inMemory(bytes));
            const options = { maxMatches: 50 };
            for (const pattern of await sample(image, seeds)) {
              const expected = await dumpers[0]!.search(image, pattern, options);
              for (const dumper of dumpers) {
                const result = await dumper.searchSpaces(spaces, pattern, options);
                expect(shownBy(result)).toEqual(shownBy(expected));
              }
              found += expected.count;
              const [first] = expected.matches;
              if (first === undefined) continue;
              const range = { address: first.address, length: first.bytes + 3000 };
              for (const filter of [{ range }, { prot: 'rw' }, { mm: first.mm, end: 2 ** 32 }]) {
                const some = { ...options, ...filter } as const;
                const inImage = await dumpers[0]!.search(image, pattern, some as object);
                const inSpaces = await dumpers[1]!.searchSpaces(spaces, pattern, some as object);
                expect(shownBy(inSpaces)).toEqual(shownBy(inImage));
              }
            }
            const expressions = { ...options, maxMatchBytes };
            const expected = await dumpers[0]!.search(image, expression, expressions);
            const result = await dumpers[1]!.searchSpaces(spaces, expression, expressions);
            expect(shownBy(result)).toEqual(shownBy(expected));
            await image.close();
            history.machine.close();
          },
        ),
        { numRuns: IS_LONG ? 500 : 12 },
      );
      expect(found).toBeGreaterThan(20);
    },
    TIME_TO_SHRINK,
  );

  /** Three mappings: the text lies across pages, granules and the end of a mapping. */
  function write(space: AddressSpace): number[] {
    const flags = [...ANON.flags, 'fixed'] as const;
    space.mmap({ prot: 'rw', flags, address: HEAP, length: 6 * MiB });
    space.mmap({ prot: 'rw', flags, address: HEAP + 6 * MiB, length: 4 * MiB });
    space.mprotect(HEAP + 6 * MiB, 4 * MiB, 'r');
    space.mprotect(HEAP + 6 * MiB, 4 * MiB, 'rw');
    const places = [PAGE_SIZE, 2 * MiB, 4 * MiB, 6 * MiB, 10 * MiB - 3].map((at) => HEAP + at - 3);
    for (const at of places) space.write(at, Buffer.from('needle'));
    return places;
  }

  it('finds pages that lie in an image, and leaves them there', async () => {
    const [one, three] = dumpers as [Dumper, Dumper];
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const places = write(space);
    const path = join(folder, 'a.cpt');
    await one.dump(space, { to: fileSink(path) });
    const image = await openImage(path);
    const other = createMachine({ memory: 4 * MiB });
    const { mms, release } = await one.restore(image, other, { load: 'on-demand' });
    await image.close();
    const free = other.memory.free;
    for (const dumper of [one, three]) {
      const { matches } = await searchSpaces(mms, 'needle', { dumper });
      expect(matches.map(({ address }) => address)).toEqual(places);
      const found = await searchSpaces(mms, /n[ed]+l/, { dumper });
      expect(found.matches.map(({ address }) => address)).toEqual(places);
    }
    expect(other.memory.free).toBe(free);
    mms[0]!.write(places[0]!, Buffer.from('x'));
    expect(await searchSpaces(mms, 'needle', { dumper: one })).toMatchObject({ count: 4 });
    await release();
    machine.close();
    other.close();
  });

  it('finds bytes in memory of the caller that is not shared', async () => {
    const bank = new ArrayBuffer(6 * MiB);
    const machine = createMachine({ memory: 2 * MiB, banks: [bank] });
    const space = machine.createAddressSpace();
    const at = space.mapFrames({ length: 6 * MiB, prot: 'rw' });
    const places = [PAGE_SIZE, 2 * MiB, 4 * MiB + 5].map((end) => end - 3);
    for (const place of places) Buffer.from(bank).write('needle', place);
    for (const dumper of dumpers) {
      const { matches } = await searchSpaces(space, 'needle', { dumper });
      expect(matches.map(({ address }) => address)).toEqual(places.map((place) => at + place));
      const found = await searchSpaces(space, /[den]+le/, { dumper, maxMatchBytes: 6 });
      expect(found.count).toBe(places.length);
    }
    machine.close();
  });

  it('faults nothing in, and lets the machine go on; also when it fails', async () => {
    const [dumper] = dumpers as [Dumper];
    const machine = createMachine({ memory: 4 * MiB });
    const space = machine.createAddressSpace();
    const heap = space.mmap({ ...ANON, length: MiB });
    const { free } = machine.memory;
    expect(await searchSpaces(space, new Uint8Array(9), { dumper })).toMatchObject({ count: 0 });
    expect(machine.memory.free).toBe(free);
    space.write(heap + 50, Buffer.from('a'));
    // Zeros beside what is stored count, if a match reaches into the page.
    expect(await searchSpaces(space, new Uint8Array(4000), { dumper })).toMatchObject({
      count: 46 + 3999,
    });
    const stopped = searchSpaces(space, 'a', { dumper, signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORT_ERR' });
    const wrong = searchSpaces([space], 'a', { dumper, mm: 1 });
    await expect(wrong).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await expect(searchSpaces([], 'a', { dumper })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
    space.write(heap, Buffer.from('b'));
    space.exit();
    await expect(searchSpaces(space, 'a', { dumper })).rejects.toMatchObject({ code: 'MM_GONE' });
    machine.close();
  });
});
