/**
 * Measures the report of an image with tens of thousands of mappings: how long it takes to make,
 * how long until a browser shows it, and how smoothly it zooms.
 */
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { createDumper, createWorkload, fileSink, imageReport, openImage, PAGE_SIZE } from 'mmdump';
import type { Browser, Page } from 'playwright-core';
import { findChromium, startBrowser } from '../../test/support/programs/browser.ts';
import type { BenchCase } from '../case.ts';
import type { Fixtures } from '../fixtures.ts';
import { skippedLine, toLine } from '../line.ts';
import { TARGETS } from '../targets.ts';

const MAPPINGS = 30_000;
const FEWER_MAPPINGS = 4096;
const MAKE = 'the page is made';
const SHOWN = 'a browser has drawn the page';
const FRAME = 'a frame while zooming';
/** Frames per measurement. */
const FRAMES = 120;

/** Writes the report of an image of `manymaps`, and returns its path and the time that it took. */
async function makeReport(fixtures: Fixtures): Promise<{ path: string; ms: number[] }> {
  const count = fixtures.options.isQuick ? FEWER_MAPPINGS : MAPPINGS;
  const { space } = await createWorkload('manymaps', { size: count * PAGE_SIZE });
  const dumper = await createDumper({ workers: fixtures.workers });
  const image = fixtures.path('.cpt');
  await dumper.dump(space, { to: fileSink(image) });
  await dumper.close();
  const path = fixtures.path('.html');
  const ms: number[] = [];
  const opened = await openImage(image);
  for (let round = 0; round < fixtures.options.rounds; round++) {
    const start = performance.now();
    writeFileSync(path, await imageReport(opened));
    ms.push(performance.now() - start);
  }
  await opened.close();
  return { path, ms };
}

/** What runs in the page, as text: this program is not compiled for a browser. */
const TWO_FRAMES = `new Promise((resolve) => {
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now())));
})`;

/** Each frame zooms in or out. */
const ZOOM = `new Promise((resolve) => {
  const canvas = document.querySelector('canvas');
  const start = performance.now();
  let done = 0;
  const next = () => {
    if (done++ === ${FRAMES}) return resolve((performance.now() - start) / ${FRAMES});
    canvas.dispatchEvent(new KeyboardEvent('keydown', { key: done % 60 < 30 ? '+' : '-' }));
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})`;

/** Milliseconds from the navigation until two frames of the finished page are drawn. */
async function timeToShow(page: Page, path: string): Promise<number> {
  await page.goto(pathToFileURL(path).href, { waitUntil: 'commit' });
  await page.locator('tbody tr').first().waitFor();
  return await page.evaluate<number>(TWO_FRAMES);
}

async function inBrowser(
  browser: Browser,
  path: string,
  rounds: number,
): Promise<{ readonly shown: number[]; readonly frames: number[] }> {
  const shown: number[] = [];
  const frames: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const page = await browser.newPage({ viewport: { width: 1300, height: 900 } });
    shown.push(await timeToShow(page, path));
    frames.push(await page.evaluate<number>(ZOOM));
    await page.close();
  }
  return { shown, frames };
}

export const report: BenchCase = {
  name: 'report',
  about: 'the report of an image with 30 000 mappings: making it, showing it, zooming in it',
  async run(fixtures) {
    const { path, ms } = await makeReport(fixtures);
    const made = toLine('report', { name: MAKE, unit: 'ms', samples: ms });
    const chromium = findChromium();
    if (chromium === undefined) {
      return { lines: [made, skippedLine('report', SHOWN, 'there is no chromium on the PATH')] };
    }
    const browser = await startBrowser(chromium);
    try {
      const { shown, frames } = await inBrowser(browser, path, fixtures.options.rounds);
      const target = TARGETS.reportFrame;
      const lines = [
        made,
        toLine('report', { name: SHOWN, unit: 'ms', samples: shown, target: TARGETS.reportShown }),
        toLine('report', { name: FRAME, unit: 'ms', samples: frames, target }),
      ];
      return { lines };
    } finally {
      await browser.close();
    }
  },
};
