/**
 * Every row of docs/CLASSIFICATION.md, in a dump. Operations prepare a row where the machine can
 * get there, and the debug interface where it cannot.
 */
import {
  createDumper,
  type Dumper,
  memorySink,
  openImage,
  PAGE_SIZE,
  readPageStruct,
  readPte,
  writePageStruct,
  writePte,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { VMA_KIND } from '../../src/mmu/vma/vma-table.ts';
import {
  BASE,
  ClassificationFixture,
  FRESH_PAGE_ROWS,
  HUGETLB_FLAGS,
  ROWS,
  ZERO_PAGE_ROWS,
} from '../support/machine/classification-fixture.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

let dumper: Dumper;
const fixtures: ClassificationFixture[] = [];

beforeAll(async () => {
  dumper = await createDumper({ workers: 1 });
});

afterEach(() => {
  for (const fixture of fixtures.splice(0)) fixture.close();
});
afterAll(() => dumper.close());

describe('a page of row', () => {
  const cases = [
    ...ROWS.map((row) => ({ row, zeroPage: ZERO_PAGE })),
    ...ZERO_PAGE_ROWS.map((row) => ({ row, zeroPage: true })),
    ...FRESH_PAGE_ROWS.map((row) => ({ row, zeroPage: false })),
  ];
  it.each(cases)('$row.0', async ({ row: [, prepare, expected, reason], zeroPage }) => {
    const fixture = new ClassificationFixture(zeroPage);
    fixtures.push(fixture);
    prepare(fixture);
    const to = memorySink();
    const report = await dumper.dump(fixture.space, { to, unsupported: 'skip' });
    const none = { absent: 0, copy: 0, zero: 0, clone: 0, unsupported: 0, parent: 0 };
    expect(report.mms[0]!.pages).toEqual({ ...none, ...expected });
    if (reason === undefined) {
      expect(report.skipped).toEqual([]);
      return;
    }
    expect(report.skipped).toMatchObject([{ mm: 0, start: BASE }]);
    expect(report.skipped[0]!.reason).toMatch(reason);
    await expect(dumper.dump(fixture.space, { to: memorySink() })).rejects.toMatchObject({
      code: 'PAGE_UNSUPPORTED',
      fields: { address: BASE },
    });
  });

  it('2: VM_HUGETLB is refused, skipped or copied', async () => {
    const fixture = new ClassificationFixture();
    fixture.insert(HUGETLB_FLAGS, VMA_KIND.ORDINARY);
    fixture.space.fill(BASE, PAGE_SIZE, 1);
    const { space } = fixture;
    await expect(dumper.dump(space, { to: memorySink() })).rejects.toMatchObject({
      code: 'HUGETLB_REFUSED',
    });
    const skipped = await dumper.dump(space, { to: memorySink(), hugetlb: 'skip' });
    expect(skipped.mms[0]!.pages.copy).toBe(0);
    const copied = await dumper.dump(space, { to: memorySink(), hugetlb: 'copy' });
    expect(copied.mms[0]!.pages.copy).toBe(1);
  });

  it('3: a bad table is told of the next mappings, too, if a file has its granule planned', async () => {
    const fixture = new ClassificationFixture();
    fixtures.push(fixture);
    const { machine, space } = fixture;
    const file = machine.createFile({ path: '/memfd:m', memoryBacked: { size: 2 * PAGE_SIZE } });
    space.mmap({ address: BASE, length: PAGE_SIZE, prot: 'rw', flags: ['shared'], file: file.id });
    space.fill(BASE, 1, 1);
    const next = BASE + PAGE_SIZE;
    const last = BASE + 3 * PAGE_SIZE; // behind a hole
    for (const address of [next, last]) {
      space.mmap({ address, length: PAGE_SIZE, prot: 'rw', flags: ['private', 'anonymous'] });
    }
    writePte(space, BASE, { level: 2, low: 0x1067, high: 0x10_0000 });
    const { skipped } = await dumper.dump(space, { to: memorySink(), unsupported: 'skip' });
    expect(skipped.map(({ start, end }) => [start, end])).toEqual([
      [BASE, next],
      [next, next + PAGE_SIZE],
      [last, last + PAGE_SIZE],
    ]);
  });

  it('18: a frame that an earlier mm of the dump stores at the same address', async () => {
    const fixture = new ClassificationFixture();
    fixture.page(1);
    const child = fixture.space.fork();
    const { mms } = await dumper.dump([fixture.space, child], { to: memorySink() });
    expect(mms.map(({ pages }) => [pages.copy, pages.clone])).toEqual([
      [1, 0],
      [0, 1],
    ]);
    child.fill(BASE, 1, 2); // from now on the child has its own page
    const after = await dumper.dump([fixture.space, child], { to: memorySink() });
    expect(after.mms.map(({ pages }) => [pages.copy, pages.clone])).toEqual([
      [1, 0],
      [1, 0],
    ]);
  });

  it('7: a guard page is a guard page in the image, too', async () => {
    const fixture = new ClassificationFixture();
    fixture.page(1);
    fixture.space.madvise(BASE, PAGE_SIZE, 'guard_install');
    const to = memorySink();
    await dumper.dump(fixture.space, { to });
    const image = await openImage(to.image);
    expect(await image.page(BASE)).toMatchObject({ kind: 'guard' });
    await image.close();
  });
});

describe('the debug interface', () => {
  it('shows entries and page structs as they are', () => {
    const fixture = new ClassificationFixture();
    fixture.page(1);
    const { machine, space } = fixture;
    const entry = readPte(space, BASE);
    expect(entry).toMatchObject({ level: 1, pfn: fixture.pfn });
    expect(entry.low & 0xfff).toBe(0x867); // present, writable, user, accessed, dirty, soft-dirty
    const child = space.fork();
    expect(readPageStruct(machine, fixture.pfn)).toEqual({
      flags: ['anon', 'swapbacked'],
      references: 2,
      mapCount: 2,
      mapping: expect.any(Number),
      index: BASE / PAGE_SIZE,
    });
    child.exit();
    expect(readPte(space, 2 * BASE).level).toBe(3);
  });

  it('lets a fault say that an entry was damaged, and lose no frame over it', () => {
    const fixture = new ClassificationFixture();
    fixture.page(1);
    fixture.entry((low) => [(low & 0xffd) | 0xfff_0000, 0]); // read-only, beyond memory
    const { free } = fixture.machine.memory;
    const damaged = expect.objectContaining({ code: 'SIGBUS' });
    expect(() => fixture.space.fill(BASE, 1, 2)).toThrow(damaged);
    expect(() => fixture.space.read(BASE, new Uint8Array(1))).toThrow(damaged);
    expect(fixture.machine.memory.free).toBe(free);
  });

  it('refuses an entry of another level, an address and a frame that are none', () => {
    const { machine, space } = new ClassificationFixture();
    const entry = { level: 1, low: 0, high: 0 };
    for (const action of [
      () => writePte(space, BASE, entry),
      () => readPte(space, -1),
      () => readPte(space, 2 ** 48),
      () => readPageStruct(machine, 4096),
      () => writePageStruct(machine, -1, {}),
    ]) {
      expect(action).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
  });
});
