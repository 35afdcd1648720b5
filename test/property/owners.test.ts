/**
 * Invariants checked, for random mappings of one file in several mms, some of which may hide pages
 * behind something else, and a random choice of the pages that those hide:
 * - every page of the file that some mapping shows is stored by exactly one of them
 * - the owner is the first one, in the order of mms and addresses, that covers the page unhidden
 * The model goes through all mappings for every page.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideOwners, type OrderedMapping } from '../../src/main/dump/owners.ts';
import { Yielder } from '../../src/main/job/stop.ts';
import { encodeOwners, OwnerTable } from '../../src/shared/dump/owner-table.ts';

const PAGES = 24;

interface Case {
  readonly mappings: readonly OrderedMapping[];
  /** Hidden pages, as `mapping:index`. */
  readonly hidden: ReadonlySet<string>;
}

const mapping = fc
  .record({
    mm: fc.nat(2),
    pgoff: fc.nat(PAGES - 1),
    pages: fc.integer({ min: 1, max: 12 }),
    isShared: fc.boolean(),
    settles: fc.boolean(),
    gap: fc.nat(5),
  })
  .map((drawn) => ({ ...drawn, pages: Math.min(drawn.pages, PAGES - drawn.pgoff) }));

const cases: fc.Arbitrary<Case> = fc
  .record({
    drawn: fc.array(mapping, { maxLength: 9 }),
    hidden: fc.array(fc.tuple(fc.nat(8), fc.nat(PAGES - 1)), { maxLength: 80 }),
  })
  .map(({ drawn, hidden }) => {
    const ends = [100, 100, 100];
    const ordered = drawn
      .sort((a, b) => a.mm - b.mm)
      .map(({ mm, pgoff, pages, isShared, settles, gap }) => {
        const start = ends[mm]! + gap;
        ends[mm] = start + pages;
        return { mm, start, pages, pgoff, isShared, settles };
      });
    return { mappings: ordered, hidden: new Set(hidden.map(([m, index]) => `${m}:${index}`)) };
  });

function covers({ pgoff, pages }: OrderedMapping, index: number): boolean {
  return pgoff <= index && index < pgoff + pages;
}

function hides({ mappings, hidden }: Case, number: number, index: number): boolean {
  return !mappings[number]!.settles && hidden.has(`${number}:${index}`);
}

/** Applies the rule page by page. */
function ownerByRule(drawn: Case, index: number): number {
  return drawn.mappings.findIndex(
    (mapped, number) => covers(mapped, index) && !hides(drawn, number, index),
  );
}

/** What a worker concludes from the tables, for every mapping that shows the file's page. */
function ownersByTables(drawn: Case, table: OwnerTable, index: number): number[] {
  return drawn.mappings.flatMap((mapped, number) => {
    if (!covers(mapped, index) || hides(drawn, number, index)) return [];
    const owned = table.find(mapped.mm, mapped.start + (index - mapped.pgoff));
    if (owned === undefined) return [];
    for (let rank = 0; rank < owned.rivals; rank++) {
      const rival = table.rival(owned.rival + rank);
      const rivalNumber = drawn.mappings.findIndex(
        ({ mm, start }) => mm === rival.mm && start === rival.start,
      );
      const isCovered = covers(drawn.mappings[rivalNumber]!, index);
      if (isCovered && !hides(drawn, rivalNumber, index)) return [];
    }
    return [number];
  });
}

describe('owners of pages that nothing else can supply', () => {
  it('are the first mapping that shows the page, and one only', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (drawn) => {
        const yielder = new Yielder(undefined);
        const owners = await decideOwners(new Map([[1, drawn.mappings]]), true, yielder);
        const table = new OwnerTable(encodeOwners(owners.intervals, owners.rivals));
        for (let index = 0; index < PAGES; index++) {
          const expected = ownerByRule(drawn, index);
          const found = ownersByTables(drawn, table, index);
          expect(found).toEqual(expected < 0 ? [] : [expected]);
        }
      }),
      { numRuns: 1000 },
    );
  });

  // Only the answers of shared mappings are used: private ones may hide or show any page.
  it('while the machine runs: the first shared mapping, or else every private one', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ mappings, hidden }) => {
        const drawn = {
          mappings: mappings.map((one) => ({ ...one, settles: one.isShared && one.settles })),
          hidden,
        };
        const yielder = new Yielder(undefined);
        const owners = await decideOwners(new Map([[1, drawn.mappings]]), false, yielder);
        for (const { mm, start } of owners.rivals) {
          expect(mappings.find((one) => one.mm === mm && one.start === start)!.isShared).toBe(true);
        }
        const table = new OwnerTable(encodeOwners(owners.intervals, owners.rivals));
        for (let index = 0; index < PAGES; index++) {
          const showing = drawn.mappings
            .map((mapped, number) => ({ mapped, number }))
            .filter(({ mapped, number }) => covers(mapped, index) && !hides(drawn, number, index));
          const shared = showing.filter(({ mapped }) => mapped.isShared);
          const expected = shared.length > 0 ? shared.slice(0, 1) : showing;
          const found = ownersByTables(drawn, table, index);
          expect(found).toEqual(expected.map(({ number }) => number));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
