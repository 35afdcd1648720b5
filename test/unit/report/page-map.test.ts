/**
 * Invariants checked, for random address spaces:
 * - runs that are written and read again are the same runs
 * - the map finds for every address the page that a plain list of all pages has, and back
 * - the shares of a stretch of the map add up to those of its pages, one by one
 * - totals, run lengths and donors equal those of the plain list
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PageMap } from '../../../src/report/page-map.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { RunReader, RunWriter } from '../../../src/shared/report/page-runs.ts';
import { PAGE_KIND, PAGE_KINDS, type ReportVma } from '../../../src/shared/report/report-data.ts';

interface Run {
  readonly kind: number;
  readonly pages: number;
  readonly where: number;
}

const { COPY, CLONE } = PAGE_KIND;

const run = fc
  .record({
    kind: fc.nat(PAGE_KINDS.length - 1),
    pages: fc.integer({ min: 1, max: 300 }),
    where: fc.nat(2 ** 40),
  })
  .map(({ kind, pages, where }): Run => {
    const place = kind === COPY ? where : kind === CLONE ? where % 1000 : 0;
    return { kind, pages, where: place };
  });

/** Mappings with their runs, and the pages of the gap before each. */
const mappings = fc.array(
  fc.record({ gap: fc.nat(3), runs: fc.array(run, { minLength: 1, maxLength: 100 }) }),
  { minLength: 1, maxLength: 8 },
);

interface Page {
  readonly vma: number;
  readonly address: number;
  readonly kind: number;
  readonly where: number;
}

function build(all: readonly { readonly gap: number; readonly runs: readonly Run[] }[]): {
  readonly map: PageMap;
  readonly pages: readonly Page[];
} {
  const writer = new RunWriter();
  const vmas: ReportVma[] = [];
  const pages: Page[] = [];
  let vpn = 16;
  for (const { gap, runs } of all) {
    vpn += gap;
    const s = vpn * PAGE_SIZE;
    for (const { kind, pages: length, where } of runs) {
      writer.add(kind, length, where);
      for (let page = 0; page < length; page++, vpn++) {
        const place = kind === COPY ? where + page * PAGE_SIZE : where;
        pages.push({ vma: vmas.length, address: vpn * PAGE_SIZE, kind, where: place });
      }
    }
    vmas.push({ s, e: vpn * PAGE_SIZE, f: 0, o: 0, n: -1, k: 'anonymous' });
  }
  const runs = Buffer.from(writer.bytes).toString('base64');
  const empty = { fields: {}, ldtEntries: 0, rss: 0, pss: 0, unique: 0 };
  return { map: new PageMap({ ...empty, vmas, runs, runCount: writer.count }), pages };
}

describe('runs', () => {
  it('come back as they were written', () => {
    fc.assert(
      fc.property(fc.array(run, { maxLength: 200 }), (runs) => {
        const writer = new RunWriter();
        for (const { kind, pages, where } of runs) writer.add(kind, pages, where);
        const reader = new RunReader(writer.bytes);
        const read: Run[] = [];
        while (reader.next()) {
          read.push({ kind: reader.kind, pages: reader.pages, where: reader.where });
        }
        expect(read).toEqual(runs);
        expect(writer.count).toBe(runs.length);
      }),
    );
  });

  it('of a terabyte and of places beyond 2^32 fit', () => {
    const writer = new RunWriter();
    writer.add(PAGE_KIND.ABSENT, 2 ** 35, 0);
    writer.add(COPY, 1, 2 ** 45);
    writer.add(COPY, 1, 72);
    const reader = new RunReader(writer.bytes);
    const read: number[][] = [];
    while (reader.next()) read.push([reader.kind, reader.pages, reader.where]);
    expect(read).toEqual([
      [PAGE_KIND.ABSENT, 2 ** 35, 0],
      [COPY, 1, 2 ** 45],
      [COPY, 1, 72],
    ]);
  });
});

describe('the map', () => {
  it('has every page where the list of all pages has it', () => {
    fc.assert(
      fc.property(mappings, fc.array(fc.nat(), { minLength: 5, maxLength: 5 }), (all, picks) => {
        const { map, pages } = build(all);
        expect(map.pages).toBe(pages.length);
        for (const pick of picks) {
          const page = pages[pick % pages.length]!;
          expect(map.vmaOf(page.address + 17)).toBe(page.vma);
          expect(map.page(page.vma, page.address)).toEqual(page);
          const middle = map.placeOf(page.vma, page.address + PAGE_SIZE / 2);
          expect(map.pageAt(middle)).toEqual(page);
        }
        expect(map.vmaOf(0)).toBe(-1);
      }),
    );
  });

  it('divides every stretch as its pages do, one by one', () => {
    const part = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(mappings, part, part, (all, one, other) => {
        const { map, pages } = build(all);
        const from = Math.min(one, other) * map.width;
        const to = Math.max(one, other) * map.width;
        const expected = PAGE_KINDS.map(() => 0);
        for (const { vma, address, kind } of pages) {
          const left = Math.max(from, map.placeOf(vma, address));
          const right = Math.min(to, map.placeOf(vma, address + PAGE_SIZE));
          if (right > left) expected[kind]! += right - left;
        }
        const shares = new Float64Array(PAGE_KINDS.length);
        map.addShares(from, to, shares);
        shares.forEach((share, kind) => {
          expect(Math.abs(share - expected[kind]!)).toBeLessThan(1e-6 * (1 + map.width));
        });
      }),
    );
  });

  it('counts kinds, lengths of runs and donors as the list does', () => {
    fc.assert(
      fc.property(mappings, (all) => {
        const { map, pages } = build(all);
        all.forEach((_, vma) => {
          const counts = PAGE_KINDS.map(
            (__, kind) => pages.filter((page) => page.vma === vma && page.kind === kind).length,
          );
          expect(PAGE_KINDS.map((__, kind) => map.total(vma, kind))).toEqual(counts);
        });
        const stored = all.flatMap(({ runs }) => runs).filter(({ kind }) => kind === COPY);
        expect(map.runLengths().reduce((sum, count) => sum + count, 0)).toBe(stored.length);
        const donors = [...map.clonesByDonor().values()].reduce((sum, count) => sum + count, 0);
        expect(donors).toBe(pages.filter(({ kind }) => kind === CLONE).length);
      }),
    );
  });
});
