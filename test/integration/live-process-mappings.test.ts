/** Mappings of live processes that are easy to get wrong, each in its own process. */

import { linkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMachine, MiB } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import {
  type Absent,
  type Capture,
  differences,
  expectedKinds,
  hex,
  LiveFixture,
  need,
  pictureOf,
  storedIn,
  vmaAt,
  wrongPages,
} from '../support/live/capture.ts';
import { wrongIn } from '../support/live/expectations.ts';
import type { Region } from '../support/live/live-process.ts';
import { isReadable, PAGE, readPage, readSmaps, withFile } from '../support/live/proc.ts';

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

describe('awkward mappings', () => {
  it('a huge page whose leaf was split agrees with smaps all the same', async (context) => {
    const subject = need(context, await fixture.captureC('split'));
    try {
      expect(differences(expectedKinds(subject.reference), storedIn(subject.image))).toEqual([]);
      const { smapsDifferences } = subject.process;
      expect(smapsDifferences).toEqual(subject.reference.privileged ? [] : null);
    } finally {
      await subject.live.kill();
    }
  });

  it('trial 14: the kernel collapses no pages of a process that is looked at twice', async (context) => {
    const subject = need(context, await fixture.captureC('collapse'));
    try {
      const collapsed = subject.regions.map(({ name }) => name);
      if (!collapsed.includes('before'))
        context.skip('this kernel makes no huge pages of small ones');
      expect(collapsed).toEqual(['before']);
    } finally {
      await subject.live.kill();
    }
  });

  it('trial 13: 20 GiB without a page that smaps counts are not scanned, others are', async (context) => {
    const subject = need(context, await fixture.captureC('reserved'));
    try {
      const { image, regions } = subject;
      const [empty, written] = regions as [Region, Region];
      // smaps does not count the zero page, so that is given up. Where the kernel has mapped a fresh
      // page, smaps counts it.
      const mapping = readSmaps(subject.live.pid).find(({ start }) => start === empty.start)!;
      const isCounted = mapping.kb.get('Rss') !== 0;
      expect(image.page(empty.start + 3 * PAGE).kind).toBe(isCounted ? 'zero' : 'absent');
      const pages = { copy: 0, zero: isCounted ? 1 : 0 };
      expect(vmaAt(image, empty.start).pages).toMatchObject(pages);
      expect(image.page(written.start + 3 * PAGE).kind).toBe('zero');
      expect(image.page(written.end - PAGE).kind).toBe('copy');
    } finally {
      await subject.live.kill();
    }
  });

  it('brk is the end of the heap, be it of several mappings', async (context) => {
    const subject = need(context, await fixture.captureC('heap'));
    try {
      const { start: brk } = subject.regions[0]!; // sbrk(0), a whole page
      expect(hex(subject.image.mm().fields.brk)).toBe(hex(brk));
    } finally {
      await subject.live.kill();
    }
  });

  it.for(['private', 'shared'])(
    'a guard page of a %s mapping hides no data of the file',
    async (sharing, context) => {
      const subject = need(context, await fixture.captureC(`${sharing}-guards`));
      try {
        const { image, reference, regions: found } = subject;
        if (found.length === 0) context.skip('no guard pages in mappings of files here');
        const [first, second] = found as [Region, Region];
        expect(image.page(first.start + PAGE).kind).toBe('guard');
        expect(image.page(first.start + 2 * PAGE).kind).toBe('guard');
        const bytes = Buffer.alloc(4 * PAGE);
        await image.read(second.start, bytes);
        const expected = withFile(`/proc/${subject.live.pid}/mem`, (mem) =>
          Buffer.concat([0, 1, 2, 3].map((page) => readPage(mem, second.start + page * PAGE))),
        );
        expect(reference.entries.guard).toBe(2);
        expect(bytes.equals(expected)).toBe(true);
      } finally {
        await subject.live.kill();
      }
    },
  );

  it.for([
    ['a name that ends as those of deleted files do', 'plain (deleted)'],
    ['a newline in its name', 'new\nline'],
    ['a carriage return in its name', 'carriage\rreturn'],
    ['a name that looks escaped', 'back\\012slash'],
    ['blanks at the end of its name', 'blank  '],
    ['a name that is not ASCII', 'größe €'],
  ] as const)('a living file with %s', async ([, name], context) => {
    const path = join(fixture.workshop.newDirectory(), name);
    writeFileSync(path, Buffer.alloc(PAGE, 'file'));
    const subject = need(context, await fixture.captureC('files', path));
    try {
      const vma = vmaAt(subject.image, subject.regions[0]!.start);
      expect(vma?.file?.path).toBe(path);
      expect(vma.file).toMatchObject({ isDeleted: false, isMemoryBacked: false, size: PAGE });
      expect(subject.image.vmas().length).toBe(subject.reference.vmas.length);
    } finally {
      await subject.live.kill();
    }
  });

  it('a file in memory with two names is stored once', async (context) => {
    if (fixture.workshop.memoryDirectory === '') context.skip('/dev/shm is no tmpfs');
    const directory = fixture.workshop.newMemoryDirectory();
    const names = [join(directory, 'one name'), join(directory, 'another name')] as const;
    writeFileSync(names[0], Buffer.alloc(PAGE, 'memory'));
    linkSync(names[0], names[1]);
    const subject = need(context, await fixture.captureC('files', ...names));
    try {
      const { image, reference, regions: found, dump } = subject;
      expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
      expect(found.map(({ start }) => image.page(start).kind)).toEqual(['copy', 'absent']);
      const files = found.map(({ start }) => vmaAt(image, start).file?.id);
      expect(files[0]).toBe(files[1]);
      expect(dump.mms[0]!.pages.copy).toBeGreaterThan(0);
    } finally {
      await subject.live.kill();
    }
  });
});

describe('pages that no page table of the process shows', () => {
  let subject: Capture | Absent = { reason: 'not started' };
  beforeAll(async () => {
    const directories = [fixture.workshop.newDirectory(), fixture.workshop.newMemoryDirectory()];
    subject = await fixture.captureC('unmapped', ...directories);
  });
  afterAll(async () => {
    if (!('reason' in subject)) await subject.live.kill();
  });

  function region(context: TestContext, name: string): [Capture, Region] {
    const capture = need(context, subject);
    const found = capture.regions.find((one) => one.name === name);
    if (found === undefined) context.skip(`this system does not provide '${name}'`);
    const link = `${found!.start.toString(16)}-${found!.end.toString(16)}`;
    if (!isReadable(`/proc/${capture.live.pid}/map_files/${link}`)) {
      context.skip('files of a process cannot be read here');
    }
    return [capture, found!];
  }

  /** The pages of the region that are not absent, by number. */
  function held({ image }: Capture, { start, end }: Region): Record<number, string> {
    const pages: Record<number, string> = {};
    for (let address = start; address < end; address += PAGE) {
      const { kind } = image.page(address);
      if (kind !== 'absent') pages[(address - start) / PAGE] = kind;
    }
    return pages;
  }

  it('are what the files hold, and the page tables stay as they were', async (context) => {
    const [{ image, reference, changed, process }] = region(context, 'memfd');
    expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
    expect(await wrongPages(image, reference)).toEqual([]);
    expect(changed).toEqual([]);
    expect(process.unreadableFiles).toEqual([]);
    expect(process.unmappedPages).toBeGreaterThan(0);
  });

  it('of a memfd that was written through its descriptor', (context) => {
    const pages = { 0: 'copy', 1: 'copy', 500: 'copy', 1000: 'copy', 1500: 'copy', 2000: 'copy' };
    expect(held(...region(context, 'memfd'))).toEqual(pages);
  });

  it('of shared anonymous memory that another process wrote', (context) => {
    expect(held(...region(context, 'inherited'))).toEqual({ 2: 'copy', 3: 'copy' });
  });

  it('of a deleted file on disk, zeros by being absent, up to its end', async (context) => {
    const [capture, found] = region(context, 'deleted');
    expect(pictureOf(capture.image, found)).toBe('ccc.cc..');
    const zeros = Buffer.alloc(PAGE, 'x');
    await capture.image.read(found.start + 3 * PAGE, zeros);
    expect(zeros.equals(Buffer.alloc(PAGE))).toBe(true);
    const beyond = capture.image.read(found.start + 6 * PAGE, Buffer.alloc(1));
    await expect(beyond).rejects.toMatchObject({ code: 'PAGE_ABSENT' });
  });

  it('of a file in memory that has a name', (context) => {
    expect(held(...region(context, 'tmpfs'))).toEqual({ 0: 'copy', 1: 'copy', 2: 'copy' });
  });

  it('come back from the image', async (context) => {
    const [{ image, space, reference }] = region(context, 'memfd');
    const { mms } = await fixture.dumper.restore(image, createMachine({ memory: 64 * MiB }));
    const comparison = await fixture.dumper.compare(space, mms[0]!);
    expect(comparison).toMatchObject({ equal: true, difference: null });
    expect(wrongIn(mms[0]!, reference)).toEqual([]);
  });
});
