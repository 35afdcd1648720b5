/**
 * The table of an image's blocks, as threads read it from the store.
 *
 * Invariants checked: it says of every block what it was told · the block of a place is the one that
 * a search through all blocks finds · bytes that are no table lead to no place outside of them.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ImageTable,
  ImageTableWriter,
  type TableBlock,
  type TableSource,
} from '../../../../src/mmu/backing/image-table.ts';
import { DIGEST } from '../../../../src/shared/digest/digest-kind.ts';

const SOURCES = [
  { fds: [7], partBytes: 0 },
  { fds: [3, 9, 4], partBytes: 2 ** 33 },
];

function sourcesOf(names: readonly string[]): TableSource[] {
  return SOURCES.map((source, index) => ({ ...source, name: names[index]! }));
}

const block: fc.Arbitrary<TableBlock> = fc.record({
  mm: fc.nat(9),
  start: fc.nat(2 ** 35),
  pages: fc.integer({ min: 1, max: 512 }),
  source: fc.nat(1),
  offset: fc.nat(2 ** 42),
  packed: fc.nat(4095),
  digest: fc.constantFrom(DIGEST.NONE, DIGEST.CRC32, DIGEST.XXH3),
  low: fc.nat(2 ** 32 - 1),
  high: fc.nat(2 ** 32 - 1),
});

function bytesOf(blocks: readonly TableBlock[], names: string[], kernel: Uint8Array): Uint8Array {
  const writer = new ImageTableWriter();
  let place = 0;
  for (const each of blocks) {
    expect(writer.add(each)).toBe(place);
    place += each.pages;
  }
  expect(writer.hasXxh3).toBe(blocks.some(({ digest }) => digest === DIGEST.XXH3));
  return writer.finish(sourcesOf(names), kernel);
}

describe('the table of the blocks of an image', () => {
  it('says what it was told', () => {
    fc.assert(
      fc.property(
        fc.array(block, { maxLength: 150 }),
        fc.array(fc.string({ unit: 'grapheme' }), { minLength: 2, maxLength: 2 }),
        fc.uint8Array({ maxLength: 50 }),
        (blocks, names, kernel) => {
          const table = new ImageTable(bytesOf(blocks, names, kernel));
          expect(table.name()).toBe(names[0]);
          expect(table.hasKernel).toBe(kernel.length > 0);
          expect(table.kernel()).toEqual(kernel);
          let first = 0;
          for (const [row, { pages, source, ...fields }] of blocks.entries()) {
            const { offset, start, mm, digest, low, high } = fields;
            const found = [table.offset(row), table.start(row), table.mm(row), table.digest(row)];
            expect(found).toEqual([offset, start, mm, digest]);
            expect([table.low(row), table.high(row), table.pages(row)]).toEqual([low, high, pages]);
            expect(table.packed(row)).toBe(fields.packed);
            expect(table.name(row)).toBe(names[source]);
            expect(table.partBytes(row)).toBe(SOURCES[source]!.partBytes);
            const fds = SOURCES[source]!.fds.map((_, at) => table.fd(table.firstFd(row) + at));
            expect(fds).toEqual(SOURCES[source]!.fds);
            for (const place of [first, first + pages - 1]) expect(table.find(place)).toBe(row);
            first += pages;
          }
          expect(table.find(first)).toBe(-1);
        },
      ),
    );
  });

  it('stays inside of its bytes when they are no table any more', () => {
    fc.assert(
      fc.property(
        fc.array(block, { minLength: 1, maxLength: 20 }),
        fc.infiniteStream(fc.nat(255)),
        fc.nat(2 ** 40),
        (blocks, noise, place) => {
          const bytes = bytesOf(blocks, ['image', 'parent'], new Uint8Array());
          const table = new ImageTable(bytes);
          for (let at = 0; at < bytes.length; at++) bytes[at] = noise.next().value!;
          const row = table.find(place);
          expect(row).toBeLessThan(blocks.length);
          if (row < 0) return;
          expect(table.pages(row)).toBeLessThanOrEqual(512);
          expect(table.name(row).length).toBeLessThanOrEqual(bytes.length);
          expect(Number.isInteger(table.fd(table.firstFd(row)))).toBe(true);
        },
      ),
    );
  });
});
