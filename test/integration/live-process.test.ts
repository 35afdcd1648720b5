/**
 * Live processes, imported and dumped, compared with /proc and CLASSIFICATION.md as other code
 * reads them (test/support/live-*.ts).
 *
 * Invariants checked: the image stores exactly the pages that it must, with the bytes that the
 * process has · no total of smaps differs · the process is left as it was, running or stopped.
 */

import { readFileSync } from 'node:fs';
import { createMachine, importProcess, MiB, verifyImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import {
  type Absent,
  type Capture,
  differences,
  expectedKinds,
  LiveFixture,
  need,
  pictureOf,
  storedIn,
  vmaAt,
  wrongPages,
} from '../support/live/capture.ts';
import {
  expectedMappings,
  fileKindsIn,
  importedMappings,
  parseProcessNote,
  wrongIn,
} from '../support/live/expectations.ts';
import { PAGE, type ProcVma, statField, threadStates } from '../support/live/proc.ts';

const MAPPINGS = process.env.MMDUMP_LONG === '1' ? 30_000 : 6000;

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

/** What must hold for every process, whatever program it runs. */
function describeProcess(name: string, start: () => Promise<Capture | Absent>): void {
  describe(name, () => {
    let subject: Capture | Absent = { reason: 'not started' };
    beforeAll(async () => {
      subject = await start();
    });
    afterAll(async () => {
      if (!('reason' in subject)) await subject.live.kill();
    });

    it('stores exactly the pages that CLASSIFICATION.md names', (context) => {
      const { image, reference } = need(context, subject);
      expect(reference.stored.size).toBeGreaterThan(0);
      expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
    });

    it('stores the bytes that /proc/PID/mem shows', async (context) => {
      const { image, reference } = need(context, subject);
      expect(await wrongPages(image, reference)).toEqual([]);
    });

    it('agrees with every total of smaps, to the kB', (context) => {
      const { reference, process } = need(context, subject);
      expect(reference.contradictions).toEqual([]);
      expect(process.sharingKnown).toBe(reference.privileged);
      expect(process.smapsDifferences).toEqual(reference.privileged ? [] : null);
    });

    it('counts what it found', (context) => {
      const { reference, process, dump, live } = need(context, subject);
      const { content, zero, guard } = reference.entries;
      const { contentPages, zeroPages, guardPages } = process;
      expect({ contentPages, zeroPages, guardPages }).toEqual({
        contentPages: content,
        zeroPages: zero,
        guardPages: guard,
      });
      const kinds = [...reference.stored.values()].map(({ kind }) => kind);
      expect(dump.mms[0]!.pages).toMatchObject({
        copy: kinds.filter((kind) => kind === 'copy').length,
        zero: kinds.filter((kind) => kind === 'zero').length,
        clone: 0,
        unsupported: 0,
        parent: 0,
      });
      expect(process.pid).toBe(live.pid);
      expect(process.vmas).toBe(reference.vmas.length);
    });

    it('has the mappings, their flags and their files', (context) => {
      const { space, image, reference, live } = need(context, subject);
      expect(importedMappings(space)).toEqual(expectedMappings(live, reference));
      expect(fileKindsIn(image)).toEqual(reference.kindsInImage);
      const isExecutable = space.vmas().some(({ flagNames }) => flagNames.includes('EXECUTABLE'));
      expect(isExecutable).toBe(true);
    });

    it('stores the vdso and not what the kernel shows beside it', (context) => {
      const { image, reference } = need(context, subject);
      const special = (name: string): readonly ProcVma[] =>
        reference.vmas.filter((vma) => vma.name === name);
      for (const { start } of special('[vdso]')) {
        const vma = vmaAt(image, start);
        expect(vma.isVdso).toBe(true);
        expect(vma.pages.copy).toBeGreaterThan(0);
      }
      for (const { start } of special('[vvar]')) {
        const vma = vmaAt(image, start);
        expect(vma.isVdso).toBe(false);
        expect(vma.pages).toEqual({ copy: 0, zero: 0, clone: 0, guard: 0, parent: 0 });
      }
    });

    it("has the mm's fields, auxv and a note that names the process", async (context) => {
      const { image, reference, live } = need(context, subject);
      const { pid } = live;
      const field = (number: number): number => Number(statField(pid, number));
      const heap = reference.vmas.findLast((vma) => vma.name === '[heap]');
      expect(image.mm().fields).toEqual({
        start_code: field(26),
        end_code: field(27),
        start_stack: field(28),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        brk: heap?.end ?? field(47),
        start_arg: field(48),
        end_arg: field(49),
        start_env: field(50),
        end_env: field(51),
        def_flags: 0,
        flags: 0,
      });
      const auxv = readFileSync(`/proc/${pid}/auxv`);
      expect(Buffer.from(await image.auxv()).equals(auxv)).toBe(true);
      expect(parseProcessNote(await image.notes())).toEqual({
        uid: process.getuid!(),
        gid: process.getgid!(),
        pid,
        ppid: process.pid,
        name: readFileSync(`/proc/${pid}/comm`, 'latin1').trimEnd(),
        args: readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').slice(0, 79),
      });
    });

    it('restores into another machine', async (context) => {
      const { image, space, reference } = need(context, subject);
      const machine = createMachine({ memory: 512 * MiB });
      const { mms } = await fixture.dumper.restore(image, machine);
      const restored = mms[0]!;
      const comparison = await fixture.dumper.compare(space, restored);
      expect(comparison).toMatchObject({ equal: true, difference: null });
      expect(restored.addresses()).toEqual(space.addresses());
      expect(Buffer.from(restored.auxv()).equals(space.auxv())).toBe(true);
      expect(wrongIn(restored, reference)).toEqual([]);
    });

    it('verifies', async (context) => {
      const { image, dump } = need(context, subject);
      const verification = await image.use(({ reach }) => {
        if (reach.kind !== 'memory') throw new Error('the image lies in memory');
        return verifyImage(reach.image, { dumper: fixture.dumper });
      });
      expect(verification).toMatchObject({ ok: true, problems: [], id: dump.image.id });
    });

    it('leaves a stopped process stopped and its page tables alone', (context) => {
      const { states, changed } = need(context, subject);
      expect(states).toMatch(/^T+$/);
      expect(changed).toEqual([]);
    });

    it('leaves a running process running, its program unharmed', async (context) => {
      const { live, reference } = need(context, subject);
      live.resume();
      const before = await live.request('ping same');
      const machine = createMachine({ memory: 512 * MiB });
      const { processes } = await importProcess(machine, live.pid, { dumper: fixture.dumper });
      expect(threadStates(live.pid)).toMatch(/^[RSD]+$/);
      expect(processes[0]!.smapsDifferences).toEqual(reference.privileged ? [] : null);
      expect(before).toMatch(/^pong same [0-9a-f]+$/);
      expect(await live.request('ping same')).toBe(before);
    });
  });
}

const maxMappings = Number(readFileSync('/proc/sys/vm/max_map_count', 'latin1'));

async function captureRegions(): Promise<Capture | Absent> {
  if (maxMappings < MAPPINGS + 2000) return { reason: `vm.max_map_count is ${maxMappings}` };
  const directories = [fixture.workshop.newDirectory(), fixture.workshop.newMemoryDirectory()];
  // a hundredth of them become holes
  return fixture.captureC('regions', String(MAPPINGS + MAPPINGS / 75), ...directories);
}

describeProcess('a Node process', () => fixture.captureNode());
describeProcess('a Python process', () => fixture.capturePython());

let regions: Capture | Absent = { reason: 'not started' };
describeProcess(`a C process with ${MAPPINGS} mappings of one page`, async () => {
  regions = await captureRegions();
  return regions;
});

describe('the regions of the C process', () => {
  function picture(context: TestContext, name: string): string {
    const { image, regions: found } = need(context, regions);
    const region = found.find((one) => one.name === name);
    if (region === undefined) context.skip(`this system does not provide '${name}'`);
    return pictureOf(image, region!);
  }

  it('many mappings: data, zeros, untouched, and holes', (context) => {
    const { regions: found, reference, image } = need(context, regions);
    const { start, end } = found.find(({ name }) => name === 'many')!;
    const inside = reference.vmas.filter((vma) => start <= vma.start && vma.end <= end);
    expect(inside.length).toBeGreaterThanOrEqual(MAPPINGS);
    const text = Array.from({ length: (end - start) / PAGE }, (_, page) =>
      image.page(start + page * PAGE).kind === 'unmapped' ? '-' : 'cz.'[page % 3],
    );
    for (let page = 99; page < text.length; page += 100) expect(text[page]).toBe('-');
    expect(picture(context, 'many').replaceAll('u', '-')).toBe(text.join(''));
  });

  it('a private file mapping: only what was written, zeros as zeros', (context) => {
    expect(picture(context, 'private-file')).toBe(`...z.c${'.'.repeat(34)}`);
  });

  it('memory of a memfd, stored once: at its first mapping that does not hide it', (context) => {
    // Pages 0, 1, 5 and 10 of the file are data, and 2 and 9 are zeros. The private mapping hides
    // pages 0 and 3.
    expect(picture(context, 'memfd-private')).toBe('cczz.c..');
    expect(picture(context, 'memfd-first')).toBe('c........zc.....');
    expect(picture(context, 'memfd-second')).toBe('............');
  });

  it('shared anonymous memory', (context) => {
    expect(picture(context, 'shared-anonymous')).toBe('.cz...c.');
  });

  it('data under PROT_NONE', (context) => {
    expect(picture(context, 'prot-none')).toBe('.cz.');
  });

  it('memory that was only read', (context) => {
    expect(picture(context, 'only-read')).toBe('zzzz....');
  });

  it('guard pages, apart from data and from nothing', (context) => {
    expect(picture(context, 'guard')).toBe('ccggcccc');
  });

  it('a SysV segment that is attached twice', (context) => {
    expect(picture(context, 'sysv-first')).toBe('.c..c...');
    expect(picture(context, 'sysv-second')).toBe('........');
  });

  it('a private mapping of /dev/zero', (context) => {
    expect(picture(context, 'dev-zero')).toBe('cz..');
    const { space, regions: found } = need(context, regions);
    const bytes = Buffer.alloc(PAGE, 1);
    space.read(found.find(({ name }) => name === 'dev-zero')!.start + 3 * PAGE, bytes);
    expect(bytes.equals(Buffer.alloc(PAGE))).toBe(true);
  });

  it('memory with advice', (context) => {
    expect(picture(context, 'dontdump')).toBe('.c..');
    expect(picture(context, 'dontfork')).toBe('c...');
    expect(picture(context, 'locked').charAt(1)).toBe('c');
  });
});
