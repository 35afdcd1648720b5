import { describe, expect, it } from 'vitest';
import { FilePages } from '../../../src/main/image/index/file-pages.ts';
import { IndexBudget } from '../../../src/main/image/index/index-budget.ts';
import { randomOf } from '../../support/images/image-mutations.ts';

const FILE = 1;

function filePages(limit?: number): FilePages {
  return new FilePages(new IndexBudget('image', limit));
}

type Model = ReadonlyMap<number, { readonly mm: number; readonly vpn: number }>;

/** Whether the table gives the same answer as the model for a page of the file. */
function isAsIn(model: Model, pages: FilePages, index: number): boolean {
  const found = pages.find(FILE, index);
  const stored = model.get(index);
  if (stored !== undefined) return found?.mm === stored.mm && found.vpn === stored.vpn;
  // The gap ends where the next stored page or the next granule begins.
  let end = index + 1;
  while (end % 512 !== 0 && !model.has(end)) end++;
  return found === undefined && pages.gap(FILE, index) === end - index;
}

describe('the table of the pages of files', () => {
  it('finds each page where it was stored, and knows how far the next one is', () => {
    const random = randomOf(7, 0);
    for (let round = 0; round < 10; round++) {
      const pages = filePages();
      const model = new Map<number, { mm: number; vpn: number }>();
      for (let block = 0; block < 60; block++) {
        const index = random.below(1600);
        const count = 1 + random.below(random.of([1, 3, 512]));
        const [mm, vpn] = [random.below(3), 10_000 + random.below(100_000)];
        const taken = [...Array(count).keys()].find((page) => model.has(index + page));
        if (taken === undefined) {
          expect(pages.add(FILE, index, count, mm, vpn)).toBeUndefined();
          for (let page = 0; page < count; page++) model.set(index + page, { mm, vpn: vpn + page });
        } else if (count === 1) {
          expect(pages.add(FILE, index, count, mm, vpn)).toBe(index);
        }
      }
      const wrong = [...Array(2200).keys()].filter((index) => !isAsIn(model, pages, index));
      expect(wrong).toEqual([]);
      expect(pages.find(FILE + 1, [...model.keys()][0]!)).toBeUndefined();
    }
  });

  it('names the first page that is stored already, at both ends and in both granules', () => {
    const pages = filePages();
    expect(pages.add(FILE, 500, 30, 0, 1000)).toBeUndefined();
    expect(pages.add(FILE, 490, 11, 1, 2000)).toBe(500);
    expect(pages.add(FILE, 529, 3, 1, 3000)).toBe(529);
    expect(pages.add(FILE, 505, 1, 0, 1005)).toBe(505);
    expect(pages.add(FILE, 530, 3, 1, 3000)).toBeUndefined();
    expect(pages.add(FILE + 1, 500, 30, 1, 4000)).toBeUndefined();
    expect(pages.find(FILE, 512)).toEqual({ mm: 0, vpn: 1012 });
  });

  it('takes the largest page numbers that an image can have', () => {
    const pages = filePages();
    const last = 2 ** 52 - 1;
    expect(pages.add(FILE, last - 3, 4, 0, 7)).toBeUndefined();
    expect(pages.find(FILE, last)).toEqual({ mm: 0, vpn: 10 });
    expect(pages.add(FILE, last, 1, 0, 9)).toBe(last);
  });

  it('is counted in the budget of the index: pages side by side are one entry', () => {
    const together = filePages(1000);
    for (let page = 0; page < 512; page++) {
      expect(together.add(FILE, page, 1, 0, 100 + page)).toBeUndefined();
    }
    const apart = filePages(100_000);
    const addApart = (): void => {
      for (let page = 0; page < 2 ** 20; page += 2) apart.add(FILE, page, 1, 0, page);
    };
    expect(addApart).toThrow(expect.objectContaining({ code: 'IMAGE_TOO_LARGE' }));
  });
});
