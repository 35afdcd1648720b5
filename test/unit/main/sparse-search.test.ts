/** Finds where a sparse file has data, by direct reads. */
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import { findData } from '../../../src/main/import/sparse-search.ts';
import { Yielder } from '../../../src/main/job/stop.ts';
import { GiB, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { intersection } from '../../../src/shared/ranges.ts';

const folder = mkdtempSync(join(tmpdir(), 'mmdump-sparse-'));
afterAll(() => rmSync(folder, { recursive: true }));

const EXT4 = 0xef53;
const STEP = (4 * MiB) / PAGE_SIZE;
const PAGES = (2 * GiB) / PAGE_SIZE;
let files = 0;

/** Creates a file of 2 GiB with data on these pages. */
function sparseFile(context: TestContext, ...pages: readonly number[]): string {
  if (statfsSync(folder).type !== EXT4) context.skip(`${folder} is not on ext4`);
  const path = join(folder, String(++files));
  const fd = openSync(path, 'w');
  ftruncateSync(fd, PAGES * PAGE_SIZE);
  for (const page of pages)
    writeSync(fd, Buffer.alloc(PAGE_SIZE, 7), 0, PAGE_SIZE, page * PAGE_SIZE);
  closeSync(fd);
  return path;
}

function yielder(signal?: AbortSignal): Yielder {
  return new Yielder(signal);
}

describe('trial 3: data in a sparse file', () => {
  it('is found in steps of 4 MiB, written back or not, also at the very end', async (context) => {
    const path = sparseFile(context, 0, 70_000, PAGES - 1);
    const step = Math.floor(70_000 / STEP) * STEP;
    expect(await findData(path, [{ from: 0, to: PAGES }], undefined, yielder())).toEqual([
      { from: 0, to: STEP },
      { from: step, to: step + STEP },
      { from: PAGES - STEP, to: PAGES },
    ]);
  });

  it('is none in a range without any, where another page shows that reads are direct', async (context) => {
    const path = sparseFile(context, 3);
    const ranges = [{ from: 10_000, to: PAGES }];
    expect(await findData(path, ranges, 3, yielder())).toEqual([]);
    expect(await findData(path, ranges, undefined, yielder())).toBe(undefined); // nothing shows it
    expect(await findData(path, ranges, 200_000, yielder())).toBe(undefined); // nor does a hole
  });

  it('is not looked for where there are no direct reads, or no file', async () => {
    const ranges = [{ from: 0, to: 1 }];
    expect(await findData('/proc/self/stat', ranges, 0, yielder())).toBe(undefined);
    expect(await findData(join(folder, 'none'), ranges, 0, yielder())).toBe(undefined);
  });

  it('is not looked for any more once the signal fires', async (context) => {
    const path = sparseFile(context, 3);
    const searching = findData(path, [{ from: 0, to: PAGES }], 3, yielder(AbortSignal.abort()));
    await expect(searching).rejects.toMatchObject({ name: 'AbortError' });
  });
});

it('the parts of a range that lie in others', () => {
  const ranges = [
    { from: 2, to: 4 },
    { from: 6, to: 9 },
  ];
  expect(intersection(3, 7, ranges)).toEqual([
    { from: 3, to: 4 },
    { from: 6, to: 7 },
  ]);
  expect(intersection(4, 6, ranges)).toEqual([]);
});
