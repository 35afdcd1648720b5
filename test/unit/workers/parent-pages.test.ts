/**
 * Finding the pages that the parent image holds unchanged.
 *
 * Invariants checked: what is found equals what a page by page comparison of bytes finds, with and
 * without ranges of pages that may have changed, as long as these hold all that have; and pages
 * outside of the ranges are not looked at.
 */
import fc from 'fast-check';
import { createMachine, MiB } from 'mmdump';
import { describe, expect, it } from 'vitest';
import { PAGE_CLASS } from '../../../src/shared/dump/page-class.ts';
import { describePageDigests } from '../../../src/shared/dump/page-digests.ts';
import { FILE_PAGES_BIT, RUN } from '../../../src/shared/dump/run-table.ts';
import { ParentPages } from '../../../src/workers/classify/parent-pages.ts';
import { RunWriter } from '../../../src/workers/classify/run-writer.ts';
import { DIGESTS } from '../../support/machine/kernels.ts';
import { xxh3Outside } from '../../support/reference/outside-xxh3.ts';
import '../../support/seed.ts';

const PAGES = 512;
const START = 1024;
const { COPY, ZERO, PARENT } = PAGE_CLASS;

const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 1 });
const { memory } = machine.parts;
/** Frames that hold the contents 0 to 3 over and over. */
const frameOf = (page: number, content: number): number => 100 + page * 2 + content;
for (let page = 0; page < PAGES; page++) {
  for (const content of [0, 1]) memory.page(frameOf(page, content)).fill(page * 2 + content + 1);
}

/** The class words of the pages of a unit, and the contents of those that are COPY. */
const pageArbitrary = fc.record({
  word: fc.constantFrom(0, ZERO, COPY, COPY, COPY, COPY | FILE_PAGES_BIT),
  content: fc.nat({ max: 1 }),
  /** What the parent holds: the first content, or nothing. */
  isInParent: fc.constantFrom(true, true, true, false),
  isDirty: fc.constantFrom(true, false, false, false),
});

function digestsOf(isThere: readonly boolean[]): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(PAGES * 8);
  const bytes = Buffer.from(buffer);
  isThere.forEach((is, page) => {
    if (is) xxh3Outside(Buffer.from(memory.page(frameOf(page, 0)))).copy(bytes, page * 8);
  });
  return buffer;
}

/** The class words after `mark`, page by page. */
function marked(found: RunWriter, first: number): number[] {
  const words = Array<number>(PAGES).fill(0);
  for (let run = first; run < found.runEnd; run++) {
    const at = run * RUN.WORDS;
    const offset = found.runs[at + RUN.OFFSET]!;
    words.fill(found.runs[at + RUN.CLASS]!, offset, offset + found.runs[at + RUN.COUNT]!);
  }
  return words;
}

describe('pages in the parent', () => {
  it('are those that have the same bytes there', () => {
    fc.assert(
      fc.property(
        fc.array(pageArbitrary, { minLength: PAGES, maxLength: PAGES }),
        fc.boolean(),
        (pages, withRanges) => {
          const ranges: number[] = [];
          pages.forEach(({ content, isDirty }, page) => {
            if (content === 0 && !isDirty) return; // it has not changed
            if (ranges.at(-1) === START + page) ranges[ranges.length - 1]! += 1;
            else ranges.push(START + page, START + page + 1);
          });
          const table = describePageDigests(
            [[], [{ start: START, pages: PAGES, first: 0 }]],
            digestsOf(pages.map(({ isInParent }) => isInParent)),
          );
          const dirty = withRanges ? [undefined, Float64Array.from(ranges)] : undefined;
          const task = { pages: table, dirty, kept: undefined };
          const parent = new ParentPages(task, memory, PAGES, DIGESTS.inside);
          const found = new RunWriter(new Int32Array(PAGES * 8), new Int32Array(PAGES * 2));
          found.begin(START, 3);
          pages.forEach(({ word, content }, page) => {
            found.page(START + page, word, frameOf(page, content));
          });
          found.end(START + PAGES);
          parent.mark(1, START, found, 3);
          const expected = pages.map(({ word, content, isInParent }) => {
            const isSame = (word & 0xff) === COPY && content === 0 && isInParent;
            return isSame ? (word & ~0xff) | PARENT : word;
          });
          expect(marked(found, 3)).toEqual(expected);
        },
      ),
      { numRuns: 30 },
    );
  });
});
