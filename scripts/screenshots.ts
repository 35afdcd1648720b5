/**
 * Takes the pictures of reports in docs/report: of the workload `mixed`, and of a live Node process.
 * Addresses and times are those of the run, so the pictures change with each run.
 *
 *   npm run screenshots
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import { findChromium, startBrowser } from '../test/support/programs/browser.ts';

const root = new URL('../', import.meta.url);
const CLI = fileURLToPath(new URL('dist/main/cli/mmdump.js', root));
const TARGET = fileURLToPath(new URL('dist/main/demo/target.js', root));
const PICTURES = fileURLToPath(new URL('docs/report/', root));
const VIEWPORT = { width: 1100, height: 820 };
/** A repository keeps every version of a picture. */
const BYTES_MOST = 150 * 1000;

interface Picture {
  readonly name: string;
  readonly scheme: 'light' | 'dark';
  /** What is dumped, as arguments of `mmdump dump`. */
  readonly source: readonly string[];
}

/** Runs the command line and returns what it prints. */
function mmdump(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`mmdump ${args.join(' ')}: ${stderr.trim()}`);
  return stdout;
}

/** The page of a report about an image that is made now. */
function reportOf({ name, source }: Picture, folder: string): string {
  const image = join(folder, `${name}.cpt`);
  const run = join(folder, `${name}.json`);
  writeFileSync(run, mmdump('dump', ...source, '-o', image, '--workers', '2', '--json'));
  mmdump('report', image, '--run', run, '--embed', '1M', '--quiet');
  return `${image}.html`;
}

async function take(browser: Browser, picture: Picture, folder: string): Promise<void> {
  const html = reportOf(picture, folder);
  const page = await browser.newPage({ viewport: VIEWPORT, colorScheme: picture.scheme });
  const path = join(PICTURES, `${picture.name}.png`);
  try {
    await page.goto(pathToFileURL(html).href);
    await page.waitForFunction("document.fonts.status === 'loaded'");
    await page.screenshot({ path, animations: 'disabled' });
  } finally {
    await page.close();
  }
  const { size } = statSync(path);
  if (size > BYTES_MOST)
    throw new Error(`${path} has ${size} bytes, expected at most ${BYTES_MOST}`);
  console.log(`${path}: ${size} bytes`);
}

async function startTarget(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [TARGET], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  return child;
}

const chromium = findChromium();
if (chromium === undefined) {
  console.error('screenshots: Chromium is not there: install it, or set CHROMIUM to its path');
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), 'mmdump-screenshots-'));
mkdirSync(PICTURES, { recursive: true });
const child = await startTarget();
const browser = await startBrowser(chromium);
try {
  const workload = ['--workload', 'mixed:16M'];
  await take(browser, { name: 'mixed', scheme: 'light', source: workload }, folder);
  const live = ['--pid', String(child.pid)];
  await take(browser, { name: 'live-node', scheme: 'dark', source: live }, folder);
} finally {
  await browser.close();
  child.stdin?.end();
  rmSync(folder, { recursive: true });
}
