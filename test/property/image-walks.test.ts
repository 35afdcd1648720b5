/**
 * Walks through images: mappings, runs, pages, streams of bytes, strings.
 *
 * Invariants checked, for images of random histories (files, forks, swapping, guard pages), of one
 * mm or of a family, with and without a parent, with runs or single pages as blocks, compressed or
 * not:
 * - the pages of a walk are those of a slow one, which asks `page` and `read` for page after page of
 *   every mapping; without a parent a second reader of the format says the same
 * - runs are the same pages, as many to a run as there are
 * - filters by range, protection, kind and class leave out what the slow walk would leave out
 * - a stream gives what reading page by page gives, and says which page is not known
 * - a string is what a slow search for its NUL byte finds
 */
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import {
  createDumper,
  type Dumper,
  type Image,
  type ImagePage,
  type ImageRun,
  type MmdumpError,
  openImage,
  PAGE_SIZE,
  type PageFilter,
  type PageKind,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageOf, inMemory } from '../support/images/images.ts';
import { readSlowly, vmaAt, wholePageSlowly } from '../support/images/slow-image.ts';
import { HAS_ZSTD } from '../support/images/zstd.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';
import {
  continueHistory,
  createHistory,
  type HistoryRecipe,
  historyArbitrary,
  type Step,
  stepsArbitrary,
} from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;
const KINDS = ['copy', 'zero', 'clone', 'guard', 'parent', 'absent'] as const;
const RECORDED = ['copy', 'zero', 'clone', 'guard', 'parent'] as const;
const PROT_BITS = { '': 0, r: 1, w: 2, rw: 3, x: 4 } as const;

/** A family whose images have pages of every kind. */
const mapStep = (what: 'anonymous' | 'shared file', place: number): Step => ({
  ...{ op: 'map', what, place, file: 3, pages: 8, offset: 0, prot: 'rw', flag: undefined },
});
const pageStep = (op: 'write' | 'zero', vma: number, page: number): Step => ({
  ...{ op, vma, page, count: 1, value: 1, within: 0 },
});
const FAMILY: HistoryRecipe = {
  steps: [
    mapStep('anonymous', 0x1_0000),
    mapStep('shared file', 0x4100_0000),
    pageStep('write', 0, 0),
    pageStep('zero', 0, 1),
    pageStep('write', 1, 2),
    { op: 'guard_install', vma: 0, page: 2, count: 1, place: 0, prot: '' },
    { op: 'fork', file: 0, entryNumber: 0, baseAddr: 0 },
    pageStep('write', 0, 3),
  ],
  auxv: new Uint8Array(0),
  notes: new Uint8Array(0),
  brk: 0,
  flags: 0,
  zeroPage: ZERO_PAGE,
};
const ALL: FilterChoice = { from: undefined, prot: undefined, kind: undefined, class: undefined };

let dumper: Dumper;

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});

afterAll(() => dumper.close());

interface SlowPage {
  readonly address: number;
  readonly kind: PageKind;
  readonly offset: number | null;
  readonly flags: number;
  readonly vmaStart: number;
  readonly bytes: Buffer | null;
}

async function readOne(image: Image, address: number, mm: number): Promise<Buffer | null> {
  const bytes = Buffer.alloc(PAGE_SIZE);
  try {
    await image.read(address, bytes, { mm });
    return bytes;
  } catch (error) {
    expect((error as MmdumpError).code).toBe('PAGE_ABSENT');
    return null;
  }
}

/** Page after page. */
async function pagesSlowly(image: Image, mm: number): Promise<SlowPage[]> {
  const pages: SlowPage[] = [];
  for (const { start, end, flags } of image.mm(mm).vmas) {
    for (let address = start; address < end; address += PAGE_SIZE) {
      const { kind, offset } = image.page(address, { mm });
      const bytes = await readOne(image, address, mm);
      pages.push({ address, kind: kind as PageKind, offset, flags, vmaStart: start, bytes });
    }
  }
  return pages;
}

/** Compares with the second reader of the format, which knows nothing of parents. */
function compareWithSecondReader(bytes: Buffer, mm: number, pages: readonly SlowPage[]): void {
  const slow = readSlowly(bytes);
  const of = slow.mms[mm]!;
  for (const { address, kind, bytes: found } of pages) {
    expect(vmaAt(of, address)?.pages.get(address)?.kind ?? 'absent').toBe(kind);
    const content = wholePageSlowly(bytes, slow, of, address);
    expect(content === null ? null : content.compare(found ?? Buffer.alloc(0))).toBe(
      found === null ? null : 0,
    );
  }
}

const filterArbitrary = fc.record({
  from: fc.option(fc.tuple(fc.nat(), fc.nat({ max: 3 * PAGE_SIZE }), fc.nat({ max: 2 ** 22 })), {
    nil: undefined,
  }),
  prot: fc.constantFrom(
    undefined,
    '' as const,
    'r' as const,
    'w' as const,
    'rw' as const,
    'x' as const,
  ),
  kind: fc.constantFrom(undefined, 'copy' as const, 'absent' as const, ['zero', 'clone'] as const),
  class: fc.constantFrom(undefined, 'copy' as const, ['guard', 'absent', 'copy'] as const),
});
type FilterChoice = typeof filterArbitrary extends fc.Arbitrary<infer T> ? T : never;

/** A range that begins near some page of the mm. */
function rangeOf(from: readonly [number, number, number], pages: readonly SlowPage[]) {
  const [page, offset, length] = from;
  const address = Math.max(0, (pages[page % pages.length]?.address ?? 0) + offset - PAGE_SIZE);
  return { address, length: Math.min(length, 0x7fff_ffff_f000 - address) };
}

function passes(page: SlowPage, filter: PageFilter): boolean {
  const { range, prot = '' } = filter;
  const bits = PROT_BITS[prot as keyof typeof PROT_BITS];
  if ((page.flags & bits) !== bits) return false;
  if (range !== undefined) {
    if (range.length === 0) return false;
    if (page.address >= range.address + range.length) return false;
    if (page.address + PAGE_SIZE <= range.address) return false;
  }
  const kinds = [filter.kind ?? KINDS].flat() as string[];
  const classes = [filter.class ?? KINDS].flat() as string[];
  const state = page.kind === 'parent' ? 'copy' : page.kind;
  if (filter.kind === undefined && filter.class === undefined) return page.kind !== 'absent';
  return kinds.includes(page.kind) && (filter.class === undefined || classes.includes(state));
}

async function all<T>(walk: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of walk) found.push(each);
  return found;
}

function assertSame(found: readonly ImagePage[], expected: readonly SlowPage[], mm: number): void {
  const shown = found.map(({ address, kind, offset, vma }) => ({
    ...{ address, kind, offset },
    ...{ flags: vma.flags, vmaStart: vma.start },
  }));
  expect(shown).toEqual(expected.map(({ bytes: _bytes, ...page }) => page));
  expect(found.every((page) => page.mm === mm)).toBe(true);
}

/** Runs are maximal: the next one is of another mapping, of another kind, or not a neighbour. */
function assertMaximal(runs: readonly ImageRun[]): void {
  for (const [index, run] of runs.entries()) {
    const next = runs[index + 1];
    if (next?.address !== run.address + run.pages * PAGE_SIZE) continue;
    expect(next.vma !== run.vma || next.kind !== run.kind).toBe(true);
  }
}

async function checkWalks(
  image: Image,
  mm: number,
  slow: readonly SlowPage[],
  choice: FilterChoice,
): Promise<void> {
  const pages = await all(image.pages({ mm, kind: KINDS, bytes: true }));
  assertSame(pages, slow, mm);
  for (const [index, { bytes }] of pages.entries()) {
    const expected = slow[index]!.bytes;
    expect(bytes === null || expected === null ? bytes : expected.compare(bytes)).toBe(
      expected === null ? null : 0,
    );
  }
  const { from, ...rest } = choice;
  const range = from === undefined || slow.length === 0 ? undefined : rangeOf(from, slow);
  for (const filter of [{}, { ...rest, range }, { range }] as PageFilter[]) {
    const expected = slow.filter((page) => passes(page, filter));
    assertSame(await all(image.pages({ ...filter, mm })), expected, mm);
    const runs = await all(image.runs({ ...filter, mm }));
    assertMaximal(runs);
    const ofRuns = runs.flatMap(({ address, pages: count, kind }) =>
      Array.from({ length: count }, (_, page) => `${address + page * PAGE_SIZE} ${kind}`),
    );
    expect(ofRuns).toEqual(expected.map(({ address, kind }) => `${address} ${kind}`));
  }
}

/** The bytes of a range; null for each that is not known. */
function bytesSlowly(
  slow: readonly SlowPage[],
  { address, length }: { readonly address: number; readonly length: number },
): (Buffer | number)[] {
  const known = new Map(slow.map((page) => [page.address, page.bytes]));
  const parts: (Buffer | number)[] = [];
  for (let at = address; at < address + length; ) {
    const page = at - (at % PAGE_SIZE);
    const end = Math.min(page + PAGE_SIZE, address + length);
    parts.push(known.get(page)?.subarray(at - page, end - page) ?? end - at);
    at = end;
  }
  return parts;
}

async function checkStream(
  image: Image,
  mm: number,
  slow: readonly SlowPage[],
  from: readonly [number, number, number],
): Promise<void> {
  const range = rangeOf(from, slow);
  const parts = bytesSlowly(slow, range);
  const isBytes = (part: Buffer | number): part is Buffer => typeof part !== 'number';
  const zeros = parts.map((part) => (isBytes(part) ? part : Buffer.alloc(part)));
  const withZeros = await buffer(image.stream(range, { mm, holes: 'zeros' }));
  expect(withZeros.compare(Buffer.concat(zeros))).toBe(0);
  const skipped = await buffer(image.stream(range, { mm, holes: 'skip' }));
  expect(skipped.compare(Buffer.concat(parts.filter(isBytes)))).toBe(0);
  const hole = parts.findIndex((part) => !isBytes(part));
  const refused = buffer(image.stream(range, { mm }));
  if (hole < 0) {
    expect((await refused).compare(Buffer.concat(zeros))).toBe(0);
    return;
  }
  const before = zeros.slice(0, hole).reduce((sum, { length }) => sum + length, 0);
  await expect(refused).rejects.toMatchObject({
    code: 'PAGE_ABSENT',
    fields: { mm, address: range.address + before },
  });
}

async function checkString(
  image: Image,
  mm: number,
  slow: readonly SlowPage[],
  [page, offset]: readonly [number, number, number],
): Promise<'text' | 'hole' | 'long'> {
  const most = 2 * PAGE_SIZE + 100;
  const { address } = rangeOf([page, offset, 0], slow);
  const parts = bytesSlowly(slow, { address, length: most + 1 });
  const hole = parts.findIndex((part) => typeof part === 'number');
  const known = Buffer.concat((hole < 0 ? parts : parts.slice(0, hole)) as Buffer[]);
  const end = known.indexOf(0);
  const found = image.cString(address, { mm, most, encoding: 'latin1' });
  if (end >= 0) {
    expect(await found).toBe(known.toString('latin1', 0, end));
    return end > 0 ? 'text' : 'long';
  }
  if (hole >= 0) {
    const fields = { address: address + known.length, mm };
    await expect(found).rejects.toMatchObject({ code: 'PAGE_ABSENT', fields });
    return 'hole';
  }
  await expect(found).rejects.toMatchObject({
    code: 'SIZE_LIMIT',
    fields: { address, limit: most },
  });
  return 'long';
}

describe('the walks of an image', () => {
  it(
    'give what a slow walk gives, page by page',
    async () => {
      const seen = new Map<string, number>();
      const count = (what: string, by = 1): void => {
        seen.set(what, (seen.get(what) ?? 0) + by);
      };
      await fc.assert(
        fc.asyncProperty(
          historyArbitrary,
          stepsArbitrary,
          fc.boolean(),
          fc.constantFrom('run' as const, 'page' as const),
          fc.constantFrom('none' as const, HAS_ZSTD ? ('zstd' as const) : ('none' as const)),
          filterArbitrary,
          fc.array(fc.tuple(fc.nat(), fc.nat({ max: 3 * PAGE_SIZE }), fc.nat({ max: 2 ** 22 })), {
            minLength: 2,
            maxLength: 4,
          }),
          async (recipe, more, hasParent, blocks, compress, choice, places) => {
            const history = createHistory(recipe);
            const options = { blocks, compress, unsupported: 'skip', hugetlb: 'copy' } as const;
            const spaces = () => [history.space, ...history.others];
            let bytes = await imageOf(dumper, spaces(), options);
            const parents = [inMemory(bytes)];
            if (hasParent) {
              const parent = await openImage(parents[0]!);
              continueHistory(history, more);
              bytes = await imageOf(dumper, spaces(), { ...options, parent });
              await parent.close();
            }
            const image = await openImage(inMemory(bytes), hasParent ? { parents } : {});
            for (const { ordinal: mm } of image.mms()) {
              const slow = await pagesSlowly(image, mm);
              if (!hasParent) compareWithSecondReader(bytes, mm, slow);
              await checkWalks(image, mm, slow, choice);
              for (const { kind } of slow) count(kind);
              if (slow.length === 0) continue;
              for (const place of places) {
                await checkStream(image, mm, slow, place);
                count(await checkString(image, mm, slow, place));
              }
            }
            await image.close();
            history.machine.close();
          },
        ),
        {
          numRuns: IS_LONG ? 500 : 10,
          examples: [
            [FAMILY, [pageStep('write', 0, 5)], false, 'run', 'none', ALL, [[0, PAGE_SIZE, 9]]],
            [FAMILY, [pageStep('write', 0, 5)], true, 'page', 'none', ALL, [[3, 0, 2 ** 22]]],
          ],
        },
      );
      for (const what of [...RECORDED, 'absent', 'hole', 'text', 'long']) {
        expect(seen.get(what) ?? 0, what).toBeGreaterThan(0);
      }
    },
    TIME_TO_SHRINK,
  );
});
