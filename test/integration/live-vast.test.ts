/**
 * Mappings that are much larger than what was touched of them.
 *
 * Invariants checked: the ranges that the kernel names hold every entry of the page map · what has
 * too many of them, or is small or dense, is read as a whole · the image has the same pages.
 */
import { open } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { readSmaps as smapsOf } from '../../src/main/import/smaps.ts';
import { touchedRanges } from '../../src/main/import/touched-ranges.ts';
import { Yielder } from '../../src/main/job/stop.ts';
import { scanPagemap } from '../../src/shared/native/pagemap-scan.ts';
import { LiveFixture } from '../support/live/capture.ts';
import { type LiveProcess, parseRegions, type Region } from '../support/live/live-process.ts';
import { PAGE, readPagemap } from '../support/live/proc.ts';
import { hold } from '../support/live/traced.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

async function startVast(context: TestContext): Promise<{ live: LiveProcess; regions: Region[] }> {
  const program = fixture.workshop.compiledProgram('vast');
  if (program === undefined) context.skip('there is no C compiler');
  const live = await fixture.workshop.start([program!]);
  const lines = await live.ready();
  return { live, regions: parseRegions(lines.filter((line) => line.startsWith('region'))) };
}

describe('what was touched of a large mapping', () => {
  it('is found by the kernel, as the page map has it', async (context) => {
    const { live, regions } = await startVast(context);
    const { pid } = live;
    const yielder = new Yielder(undefined);
    const smaps = await smapsOf(pid, yielder);
    const file = await open(`/proc/${pid}/pagemap`);
    try {
      const pagemap = file.fd;
      const [probed] = regions;
      if (scanPagemap(pagemap, probed!.start, probed!.end) === undefined) {
        context.skip('there is no PAGEMAP_SCAN here');
      }
      const counts: Record<string, number> = {};
      for (const { name, start, end } of regions) {
        const vma = smaps.find((each) => each.start === start)!;
        const ranges = await touchedRanges(pagemap, vma, yielder);
        counts[name] = ranges?.length ?? -1;
        if (ranges === undefined) continue;
        const entries = readPagemap(pagemap, start, end);
        const isInside = (page: number): boolean =>
          ranges.some(({ from, to }) => page >= from && page < to);
        expect(entries.length).toBeGreaterThan(0);
        expect(entries.filter(({ address }) => !isInside(address / PAGE))).toEqual([]);
        const pages = new Set(entries.map(({ address }) => address / PAGE));
        for (const { from, to } of ranges) {
          expect({ from: pages.has(from), to: pages.has(to - 1) }).toEqual({
            from: true,
            to: true,
          });
        }
      }
      expect(counts).toEqual({ few: 5, shared: 1, many: -1 });
      const small = smaps.find(({ start, end }) => end - start < 1000 * PAGE)!;
      expect(await touchedRanges(pagemap, small, yielder)).toBeUndefined();
    } finally {
      await file.close();
    }
    await live.kill();
  });

  it('is in the image, and nothing else', async (context) => {
    const { live } = await startVast(context);
    const { imported, wrong } = await hold(fixture, live.pid);
    await imported.release();
    expect(wrong).toEqual([]);
    await live.kill();
  });
});
