/** Explanations of the rows of docs/CLASSIFICATION.md, and of pages in unusual places. */
import { createMachine, explainPage, MiB, type MmdumpError, PAGE_SIZE } from 'mmdump';
import { afterEach, describe, expect, it } from 'vitest';
import { ANON } from '../support/images/images.ts';
import {
  BASE,
  ClassificationFixture,
  FRESH_PAGE_ROWS,
  ROWS,
  ZERO_PAGE_ROWS,
} from '../support/machine/classification-fixture.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

const fixtures: ClassificationFixture[] = [];
afterEach(() => {
  for (const fixture of fixtures.splice(0)) fixture.close();
});

describe('explainPage', () => {
  const cases = [
    ...ROWS.map((row) => ({ row, zeroPage: ZERO_PAGE })),
    ...ZERO_PAGE_ROWS.map((row) => ({ row, zeroPage: true })),
    ...FRESH_PAGE_ROWS.map((row) => ({ row, zeroPage: false })),
  ];
  it.each(cases)('says of each page what a dump counts: $row.0', async ({ row, zeroPage }) => {
    const [, prepare, expected, reason] = row;
    const fixture = new ClassificationFixture(zeroPage);
    fixtures.push(fixture);
    prepare(fixture);
    const counts: { [name: string]: number } = {};
    for (const { start, end } of fixture.space.vmas()) {
      for (let address = start; address < end; address += PAGE_SIZE) {
        const found = await explainPage(fixture.space, address);
        const counted = found.class === 'guard' ? 'absent' : found.class; // as the report counts
        counts[counted] = (counts[counted] ?? 0) + 1;
        if (found.class === 'unsupported') expect(found.reason).toMatch(reason!);
      }
    }
    expect(counts).toEqual(expected);
  });

  it('shows the walk, the frame and the mapping of an ordinary page', async () => {
    const fixture = new ClassificationFixture();
    fixtures.push(fixture);
    fixture.page(7);
    const found = await explainPage(fixture.space, BASE + 100);
    expect(found).toMatchObject({
      address: BASE,
      mm: 0,
      vma: { start: BASE, prot: 'rw-p', file: null },
      frame: { flags: expect.arrayContaining(['anon']), references: 1, mapCount: 1 },
      swap: null,
      backed: null,
      class: 'copy',
      row: 19,
      reason: 'has content',
      donor: null,
    });
    expect(found.walk.map(({ table }) => table)).toEqual(['pgd', 'pud', 'pmd', 'pte']);
    const { bits, pfn } = found.walk[3]!;
    expect(bits).toEqual(['present', 'write', 'user', 'accessed', 'dirty', 'nx']);
    expect(found.frame!.pfn).toBe(pfn);
  });

  it('shows where a page is that is in no frame', async () => {
    const fixture = new ClassificationFixture();
    fixtures.push(fixture);
    fixture.backedPage(3);
    const backed = await explainPage(fixture.space, BASE);
    expect(backed).toMatchObject({ frame: null, backed: { place: 0, merged: false }, row: 19 });
    expect(backed.walk[3]).toMatchObject({ pfn: null, bits: ['backed'] });
    const other = BASE + 2 ** 30;
    fixture.space.mmap({
      ...ANON,
      address: other,
      length: PAGE_SIZE,
      flags: [...ANON.flags, 'fixed'],
    });
    fixture.space.fill(other, PAGE_SIZE, 9);
    fixture.space.madvise(other, PAGE_SIZE, 'pageout');
    const swapped = await explainPage(fixture.space, other);
    expect(swapped).toMatchObject({ frame: null, swap: { references: 1 }, class: 'copy' });
  });

  it('names the donor of a clone, in the order of the address spaces', async () => {
    const fixture = new ClassificationFixture();
    fixtures.push(fixture);
    fixture.page(7);
    const child = fixture.space.fork();
    const both = [fixture.space, child];
    expect(await explainPage(both, BASE)).toMatchObject({ class: 'copy', row: 19, donor: null });
    const clone = { class: 'clone', row: 18, donor: 0 };
    expect(await explainPage(both, BASE, { mm: 1 })).toMatchObject(clone);
    expect(await explainPage(child, BASE)).toMatchObject({ class: 'copy', donor: null });
  });

  it('has no row for an address without a mapping, and walks as far as it can', async () => {
    const machine = createMachine({ memory: 4 * MiB });
    const space = machine.createAddressSpace();
    const found = await explainPage(space, BASE);
    expect(found).toMatchObject({ class: 'unmapped', row: null, vma: null, frame: null });
    expect(found.walk).toMatchObject([{ table: 'pgd', low: 0, high: 0, pfn: null, bits: [] }]);
    machine.close();
  });

  it('refuses an mm that was not given', async () => {
    const fixture = new ClassificationFixture();
    fixtures.push(fixture);
    const code = (spaces: Parameters<typeof explainPage>[0], mm: number): Promise<unknown> =>
      explainPage(spaces, BASE, { mm }).catch((error: MmdumpError) => error.code);
    expect(await code(fixture.space, 1)).toBe('OPTION_INVALID');
    expect(await code([], 0)).toBe('OPTION_INVALID');
  });
});
