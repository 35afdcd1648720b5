/**
 * `mmdump report`: the page in a real browser, and the command. What the page says is compared with
 * what the image says.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createDumper, createMachine, fileSink, imageReport, openImage, PAGE_SIZE } from 'mmdump';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findChromium, startBrowser } from '../support/programs/browser.ts';
import { CliFolder, expectFailure } from '../support/programs/cli.ts';

const HOSTILE = '/tmp/</script><script>document.title="taken"</script><b>';
/** A page of the child that it has written, and the text that is there. */
const OWN = 0x10000000 + 5 * PAGE_SIZE;
const TEXT = 'the child wrote this';

const cli = new CliFolder();
const pathOf = (name: string): string => join(cli.path, name);
afterAll(() => cli.remove());

beforeAll(async () => {
  await cli.inside('dump', '--workload', 'mixed:8M', '-o', 'mixed.cpt', '--quiet');
  const dumped = await cli.inside('dump', '--workload', 'mixed:8M', '-o', 'again.cpt', '--json');
  writeFileSync(pathOf('run.json'), dumped.stdout);
  await makeFamily();
});

/** A family of two: shared and own pages, a guard page, a file with a hostile name. */
async function makeFamily(): Promise<void> {
  const machine = createMachine({ memory: 16 * 1024 * 1024 });
  const mm = machine.createAddressSpace();
  const length = 64 * PAGE_SIZE;
  mm.mmap({ address: 0x10000000, length, prot: 'rw', flags: ['private', 'anonymous', 'fixed'] });
  const bytes = Buffer.alloc(length / 2, 'shared by both ');
  mm.write(0x10000000, bytes);
  mm.read(0x10000000 + 40 * PAGE_SIZE, new Uint8Array(1));
  const file = machine.createFile({ path: HOSTILE, memoryBacked: { size: 8 * PAGE_SIZE } });
  mm.mmap({
    address: 0x20000000,
    length: 8 * PAGE_SIZE,
    prot: 'rw',
    flags: ['shared', 'fixed'],
    file: file.id,
  });
  mm.write(0x20000000, Buffer.from('bytes of the file'));
  const child = mm.fork();
  child.write(OWN, Buffer.from(TEXT));
  const dumper = await createDumper({ workers: 2 });
  try {
    await dumper.dump([mm, child], { to: fileSink(pathOf('family.cpt')) });
  } finally {
    await dumper.close();
  }
}

describe('the command', () => {
  it('writes one page, and says where', async () => {
    const result = await cli.inside('report', 'mixed.cpt');
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(result.stdout).toMatch(/^mixed\.cpt\.html: /);
    const html = readFileSync(pathOf('mixed.cpt.html'), 'utf8');
    expect(html).toMatch(/^<!doctype html>/);
    expect(html).not.toMatch(/(src|href)=["']?(https?:)?\/\//);
    const json = await cli.inside('report', 'mixed.cpt', '-o', 'b.html', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({
      output: 'b.html',
      bytes: Buffer.byteLength(html),
    });
  });

  it('leaves a file that is there alone, unless forced', async () => {
    writeFileSync(pathOf('taken.html'), 'mine');
    const refused = await cli.inside('report', 'mixed.cpt', '-o', 'taken.html');
    expectFailure(refused, 1, 'taken.html exists already', 'OUTPUT_EXISTS');
    expect(readFileSync(pathOf('taken.html'), 'utf8')).toBe('mine');
    await cli.inside('report', 'mixed.cpt', '-o', 'taken.html', '--force', '--quiet');
    expect(readFileSync(pathOf('taken.html'), 'utf8')).not.toBe('mine');
  });

  it('says in one line what is wrong, and leaves nothing behind', async () => {
    const before = readdirSync(cli.path);
    writeFileSync(pathOf('broken.json'), '{');
    const other = await cli.inside('report', 'family.cpt', '-o', 'x.html', '--run', 'run.json');
    expectFailure(other, 2, 'it is of the image with id', 'OPTION_INVALID');
    const broken = await cli.inside('report', 'mixed.cpt', '-o', 'x.html', '--run', 'broken.json');
    expectFailure(broken, 2, 'broken.json cannot be read', 'OPTION_INVALID');
    const nowhere = await cli.inside('report', 'mixed.cpt', '-o', 'no/x.html');
    expectFailure(nowhere, 1, 'no/x.html cannot be created', 'OUTPUT_FAILED');
    const none = await cli.inside('report', 'none.cpt', '-o', 'x.html');
    expectFailure(none, 1, 'none.cpt', 'INPUT_FAILED');
    expect(readdirSync(cli.path)).toEqual([...before, 'broken.json'].sort());
  });
});

describe('imageReport', () => {
  it('stops when its signal fires', async () => {
    const image = await openImage(pathOf('mixed.cpt'));
    await expect(imageReport(image, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: 'AbortError',
    });
    await image.close();
    await expect(imageReport(image)).rejects.toMatchObject({ code: 'IMAGE_CLOSED' });
  });

  it.each([
    ['no report of a dump', {}],
    ['another image', { image: { id: 'ab' } }],
    ['times that are no numbers', { image: { id: '' }, ms: { copy: 'soon' } }],
  ])('refuses %s', async (_, run) => {
    const image = await openImage(pathOf('mixed.cpt'));
    const ids = 'image' in run && run.image.id === '' ? { image: { id: image.id } } : {};
    await expect(imageReport(image, { run: { ...run, ...ids } })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(/^run: /),
    });
    await image.close();
  });
});

const chromium = findChromium();
describe.skipIf(chromium === undefined)('the page (skipped without chromium)', () => {
  const problems: string[] = [];
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser(chromium!);
  });
  afterAll(() => browser?.close());

  /** Opens the report of an image. Whatever the page complains of is an error of the test. */
  async function open(name: string, ...options: string[]): Promise<Page> {
    await cli.inside('report', name, '-o', `${name}.html`, '--force', '--quiet', ...options);
    const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('console', (line) => problems.push(line.text()));
    page.on('request', (request) => {
      if (!/^(file|data|blob):/.test(request.url())) problems.push(request.url());
    });
    await page.goto(pathToFileURL(pathOf(`${name}.html`)).href);
    return page;
  }

  async function cellsOf(page: Page, caption: string | RegExp): Promise<string[][]> {
    const table = page.locator('table', { has: page.locator('caption', { hasText: caption }) });
    return await table
      .locator('tbody tr')
      .evaluateAll((rows) =>
        rows.map((row) => Array.from(row.children, ({ textContent }) => textContent ?? '')),
      );
  }

  const numberOf = (text: string | undefined): number => Number(text?.replace(/\s/g, ''));

  async function goTo(page: Page, address: number): Promise<void> {
    await page.getByLabel('Address', { exact: true }).fill(address.toString(16));
    await page.getByRole('button', { name: 'Go' }).click();
  }

  it('has the totals of the image, and no errors', async () => {
    const page = await open('mixed.cpt');
    const { mms } = JSON.parse((await cli.inside('inspect', 'mixed.cpt', '--json')).stdout);
    const sums = { absent: 0, copy: 0, zero: 0, clone: 0, guard: 0, parent: 0 };
    for (const { start, end, pages, guardPages, parentPages } of mms[0].vmas) {
      for (const kind of ['copy', 'zero', 'clone'] as const) sums[kind] += pages[kind];
      sums.guard += guardPages;
      sums.parent += parentPages;
      const stored = pages.copy + pages.zero + pages.clone + guardPages + parentPages;
      sums.absent += (Number(end) - Number(start)) / PAGE_SIZE - stored;
    }
    const totals = await cellsOf(page, /^Pages by kind/);
    expect(Object.fromEntries(totals.map(([kind, pages]) => [kind, numberOf(pages)]))).toEqual(
      sums,
    );
    const mappings = await cellsOf(page, 'Mappings, and');
    expect(mappings).toHaveLength(mms[0].vmas.length);
    mappings.forEach((cells, index) => {
      const vma = mms[0].vmas[index];
      expect(cells[0]).toBe(`${vma.start.slice(2)}-${vma.end.slice(2)}`);
      expect(cells[2]).toBe(vma.prot);
      expect(numberOf(cells[4])).toBe(vma.pages.copy);
      if (vma.file !== null) expect(cells.at(-1)).toBe(vma.file);
    });
    expect(problems.splice(0)).toEqual([]);
    await page.close();
  });

  it('reaches the page that is asked for, by address, by click and by keys', async () => {
    const page = await open('family.cpt', '--embed', '1M');
    await page.getByRole('combobox').selectOption('1');
    await goTo(page, OWN + 8);
    const chosen = page.locator('#details');
    const address = `0x${OWN.toString(16)}`;
    await expect.poll(() => chosen.textContent()).toContain(address);
    // It stands in the middle now. From everything, the same way by the keys.
    const canvas = page.locator('canvas');
    const box = (await canvas.boundingBox())!;
    await goTo(page, OWN + 20 * PAGE_SIZE);
    await expect.poll(() => chosen.textContent()).toContain((OWN + 20 * PAGE_SIZE).toString(16));
    await goTo(page, OWN);
    await canvas.click({ position: { x: box.width / 2, y: 60 } });
    await expect.poll(() => chosen.textContent()).toContain(address);
    await canvas.press('Shift+ArrowRight');
    await expect.poll(() => chosen.textContent()).toContain((OWN + PAGE_SIZE).toString(16));
    await canvas.press('Shift+ArrowLeft');
    await expect.poll(() => chosen.textContent()).toContain(address);
    await canvas.press('+');
    await canvas.press('ArrowLeft');
    await canvas.press('Enter');
    await canvas.press('Home');
    await canvas.hover({ position: { x: box.width / 4, y: 60 } });
    await expect.poll(() => page.locator('#tip').textContent()).toMatch(/0x[0-9a-f]+/);
    await goTo(page, 0x666);
    await expect.poll(() => chosen.textContent()).toContain('No mapping');
    expect(problems.splice(0)).toEqual([]);
    await page.close();
  });

  it('shows the bytes of embedded pages, and those alone', async () => {
    const page = await open('family.cpt', '--embed', '1M');
    await page.getByRole('combobox').selectOption('1');
    await goTo(page, OWN);
    const shown = page.getByLabel('Bytes of the page');
    await expect.poll(() => shown.textContent()).toContain('the child wrote');
    const image = await openImage(pathOf('family.cpt'));
    const bytes = new Uint8Array(PAGE_SIZE);
    await image.read(OWN, bytes, { mm: 1 });
    await image.close();
    const first = (await shown.textContent())!.split('\n')[0]!;
    const numbers = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0'));
    expect(first).toContain(numbers.join(' '));
    await page.close();
    const bare = await open('family.cpt');
    await goTo(bare, 0x10000000);
    await expect.poll(() => bare.locator('#details').textContent()).toContain('not in the report');
    await bare.close();
    expect(problems.splice(0)).toEqual([]);
  });

  it('takes no text of an image for markup', async () => {
    const page = await open('family.cpt');
    expect(await page.title()).toBe('family.cpt – mmdump report');
    expect(await page.locator('b').count()).toBe(0);
    const mappings = await cellsOf(page, 'Mappings, and');
    expect(mappings.at(-1)!.at(-1)).toBe(HOSTILE);
    expect(problems.splice(0)).toEqual([]);
    await page.close();
  });

  it('says who shares what in a family', async () => {
    const page = await open('family.cpt');
    const rows = await cellsOf(page, 'What each address space shows');
    expect(rows.map(([mm]) => mm)).toEqual(['mm 0', 'mm 1']);
    expect(rows[1]!.at(-1)).toMatch(/^31 of mm 0$/);
    await page.close();
  });

  it('sorts and filters mappings, and shows the way to one', async () => {
    const page = await open('mixed.cpt');
    await page.getByRole('button', { name: 'copy' }).click();
    const sorted = (await cellsOf(page, 'Mappings, and')).map((cells) => numberOf(cells[4]));
    expect(sorted).toEqual([...sorted].sort((a, b) => b - a));
    await page.getByLabel('Only those with').fill('[heap]');
    const heap = await cellsOf(page, 'Mappings, and');
    expect(heap.map((cells) => cells.at(-1))).toEqual(['[heap]']);
    await page.getByRole('button', { name: heap[0]![0]! }).click();
    const start = heap[0]![0]!.split('-')[0]!;
    await expect.poll(() => page.locator('#details').textContent()).toContain(`0x${start}`);
    expect(problems.splice(0)).toEqual([]);
    await page.close();
  });

  it('shows how the dump went', async () => {
    const page = await open('again.cpt', '--run', 'run.json');
    const { perWorker } = JSON.parse(readFileSync(pathOf('run.json'), 'utf8'));
    const rows = await cellsOf(page, 'What each worker did');
    expect(rows).toHaveLength(perWorker.length);
    expect(numberOf(rows[0]![3])).toBe(perWorker[0].pages);
    expect(await page.locator('svg rect').count()).toBe(perWorker.length);
    expect(problems.splice(0)).toEqual([]);
    await page.close();
  });

  it.each(['light', 'dark'] as const)('has no serious fault of access, %s', async (scheme) => {
    const page = await open('family.cpt', '--embed', '64K');
    await page.emulateMedia({ colorScheme: scheme });
    await goTo(page, 0x10000000);
    await page.getByLabel('Bytes of the page').waitFor();
    await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8'));
    const violations = await page.evaluate(async () => {
      const { axe } = globalThis as unknown as { readonly axe: { run(): Promise<AxeResult> } };
      return (await axe.run()).violations.map(({ id, impact, nodes }) => {
        return { id, impact, where: nodes.map(({ html }) => html) };
      });
    });
    const serious = violations.filter(
      ({ impact }) => impact === 'serious' || impact === 'critical',
    );
    expect(serious).toEqual([]);
    await page.close();
    problems.splice(0);
  });
});

interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly impact: string;
    readonly nodes: readonly { readonly html: string }[];
  }[];
}
