/**
 * Explanations of pages.
 *
 * Invariants checked, for every page of the mappings of random histories (files, forks, swapping,
 * damaged page tables), with random options and one or several mms:
 * - the class that is explained is what a dump with these options has recorded in its image, and a
 *   page that cannot be stored is in the report of the dump, with the same reason
 * - the row is that of the slow reference classifier, which shares no code with the dumper
 * - the walk ends with the entry that `readPte` shows
 */
import fc from 'fast-check';
import {
  type AddressSpace,
  createDumper,
  type Dumper,
  explainPage,
  memorySink,
  openImage,
  PAGE_SIZE,
  type PageExplanation,
  readPte,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';
import { classifyAll, type Fate } from '../support/reference/reference-classifier.ts';
import { CORRUPTIONS, corrupt } from '../support/reference/reference-corruptions.ts';
import {
  createHistory,
  type HistoryRecipe,
  historyArbitrary,
  type Step,
} from '../support/reference/reference-histories.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const TIME_TO_SHRINK = 600_000;
/** Pages of one mapping that are explained: its first ones. */
const PAGES_MOST = 48;

let dumper: Dumper;

beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
});

afterAll(() => dumper.close());

const optionsArbitrary = fc.record({
  zeroPages: fc.constantFrom('detect' as const, 'detect' as const, 'copy' as const),
  hugetlb: fc.constantFrom('skip' as const, 'copy' as const),
  dontDump: fc.boolean(),
});

const damageArbitrary = fc.record({
  kind: fc.constantFrom(...CORRUPTIONS),
  vma: fc.nat({ max: 20 }),
  page: fc.nat({ max: 15 }),
  choice: fc.nat({ max: 100 }),
});

const mapStep = (what: 'anonymous' | 'shared file', place: number): Step => ({
  ...{ op: 'map', what, place, file: 3, pages: 8, offset: 0, prot: 'rw', flag: undefined },
});
const pageStep = <Op extends string>(op: Op, vma: number, page: number) => ({
  ...{ op, vma, page, count: 1, value: 1, within: 0 },
});

/** Reaches rows 2 (with `dontDump`), 3, 5, 7, 12, 17, 18 and 19 on any machine. */
const ROWS_OF_ALL_MACHINES: HistoryRecipe = {
  steps: [
    mapStep('anonymous', 0x1_0000),
    mapStep('anonymous', 0x4000_0000),
    mapStep('shared file', 0x4100_0000),
    mapStep('anonymous', 0x5555_5555_4000),
    pageStep('write', 2, 0),
    pageStep('write', 0, 0),
    pageStep('zero', 0, 1),
    { ...pageStep('guard_install', 0, 2), place: 0, prot: '' },
    { ...pageStep('dontdump', 1, 0), place: 0, prot: '' },
    { op: 'fork', file: 0, entryNumber: 0, baseAddr: 0 },
    pageStep('write', 0, 3),
  ],
  auxv: new Uint8Array(0),
  notes: new Uint8Array(0),
  brk: 0,
  flags: 0,
  zeroPage: ZERO_PAGE,
};
const DONT_DUMP = { zeroPages: 'detect', hugetlb: 'skip', dontDump: true } as const;

/** What the dump has made of each page, by mm and address. */
async function dumped(
  spaces: readonly AddressSpace[],
  options: object,
): Promise<(mm: number, address: number) => string> {
  const to = memorySink();
  const report = await dumper.dump(spaces, { to, unsupported: 'skip', ...options });
  const image = await openImage(to.image);
  return (mm, address) => {
    const skipped = report.skipped.find(
      (run) => run.mm === mm && run.start <= address && address < run.end,
    );
    const { kind } = image.page(address, { mm });
    return skipped === undefined || kind !== 'absent' ? kind : `absent: ${skipped.reason}`;
  };
}

/** The same, from an explanation. Rows 2 are in the report as well, but not rows 1 and 3. */
function textOf({ class: found, reason, row }: PageExplanation): string {
  if (found === 'unsupported' || row === 2) return `absent: ${reason}`;
  return found;
}

/**
 * The rows of the reference. Row 0, a frame that is not there, belongs to row 8. Of a file's page
 * that is stored, the reference tells whether it is zeros: rows 17 and 19 behind row 12.
 */
function rowsOf(
  machine: Parameters<typeof classifyAll>[0],
  spaces: readonly AddressSpace[],
  options: Parameters<typeof classifyAll>[2],
): Map<string, Fate> {
  const fates = new Map<string, Fate>();
  classifyAll(machine, spaces, options).forEach((vmas, mm) => {
    for (const { vpn, fate } of vmas.flatMap(({ pages }) => pages)) {
      const isOfFile = 'ofCache' in fate && fate.ofCache;
      fates.set(`${mm} ${vpn}`, { ...fate, row: isOfFile ? 12 : fate.row === 0 ? 8 : fate.row });
    }
  });
  return fates;
}

describe('explainPage', () => {
  it(
    'says of every page what a dump does with it, and the row of the reference',
    async () => {
      const rows = new Set<number | null>();
      await fc.assert(
        fc.asyncProperty(
          historyArbitrary,
          fc.array(damageArbitrary, { maxLength: 3 }),
          optionsArbitrary,
          async (recipe, damages, options) => {
            const history = createHistory(recipe);
            for (const damage of damages) corrupt(history, damage);
            const { machine } = history;
            const spaces = [history.space, ...history.others];
            const recorded = await dumped(spaces, options);
            const fates = rowsOf(machine, spaces, { ...options, freeze: true });
            for (const [mm, space] of spaces.entries()) {
              for (const { start, end } of space.vmas()) {
                const last = Math.min(end, start + PAGES_MOST * PAGE_SIZE);
                for (let address = start; address < last; address += PAGE_SIZE) {
                  const found = await explainPage(spaces, address + 5, { mm, ...options });
                  const where = `mm ${mm}, ${address.toString(16)}, ${found.reason}`;
                  expect(textOf(found), where).toBe(recorded(mm, address));
                  expect(found).toMatchObject({ address, mm, vma: { start, end } });
                  const fate = fates.get(`${mm} ${address / PAGE_SIZE}`);
                  if (fate !== undefined) expect(found.row, where).toBe(fate.row);
                  const { low, high } = readPte(space, address);
                  expect(found.walk.at(-1), where).toMatchObject({ low, high });
                  rows.add(found.row);
                }
              }
            }
            machine.close();
          },
        ),
        {
          numRuns: IS_LONG ? 1000 : 25,
          examples: [[ROWS_OF_ALL_MACHINES, [], DONT_DUMP]],
        },
      );
      expect([...rows]).toEqual(expect.arrayContaining([2, 3, 5, 7, 12, 17, 18, 19]));
    },
    TIME_TO_SHRINK,
  );
});
