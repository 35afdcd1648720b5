/**
 * Live processes, imported and dumped, against /proc and CLASSIFICATION.md read by other code
 * (test/support/live-*.ts).
 *
 * Invariants checked: the image stores exactly the pages that it must, with the bytes that the
 * process has · a total of smaps differs nowhere · the process is left as it was, running or
 * stopped · whatever fails is one error with a code and leaves nothing.
 */
import {
  linkSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type DumpReport,
  fileSink,
  type Image,
  type ImageVma,
  importProcess,
  type Machine,
  MiB,
  MmdumpError,
  memorySink,
  openImage,
  type ProcessReport,
  verifyImage,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import {
  isReadable,
  PAGE,
  type ProcVma,
  readPage,
  statField,
  threadStates,
  until,
  untilNow,
  withFile,
} from '../support/live-proc.ts';
import { pageStates, type Reference, readReference } from '../support/live-reference.ts';
import {
  isInstalled,
  parseRegions,
  type Region,
  stopProcess,
  type Target,
  Workshop,
} from '../support/live-target.ts';

const workshop = new Workshop();
const images: Image[] = [];
let dumper: Dumper;

beforeAll(async () => {
  dumper = await createDumper({ workers: 3 });
});

afterAll(async () => {
  for (const image of images) await image.close();
  await workshop.close();
  await dumper?.close();
});

async function open(from: Parameters<typeof openImage>[0]): Promise<Image> {
  const image = await openImage(from);
  images.push(image);
  return image;
}

/** A stopped process, what it is, and what became of it. */
interface Capture {
  readonly target: Target;
  readonly regions: readonly Region[];
  readonly reference: Reference;
  readonly process: ProcessReport;
  readonly space: AddressSpace;
  readonly dump: DumpReport;
  readonly image: Image;
  /** States of all threads after the import. */
  readonly states: string;
  /** Pages whose presence the import changed. */
  readonly changed: readonly string[];
}

async function capture(target: Target, regions: readonly Region[] = []): Promise<Capture> {
  await target.stop();
  const reference = readReference(target.pid);
  const machine = createMachine({ memory: 512 * MiB });
  const { mms, processes } = await importProcess(machine, target.pid, { dumper });
  const states = threadStates(target.pid);
  const changed = differences(reference.states, pageStates(target.pid));
  const sink = memorySink();
  const dump = await dumper.dump(mms[0]!, { to: sink });
  const image = await open(sink.image);
  return {
    target,
    regions,
    reference,
    process: processes[0]!,
    space: mms[0]!,
    dump,
    image,
    states,
    changed,
  };
}

/** Why there is no such target here. */
type Absent = { readonly reason: string };

async function captureNode(): Promise<Capture> {
  return capture(await workshop.startReady(workshop.nodeCommand()));
}

async function capturePython(): Promise<Capture | Absent> {
  if (!isInstalled('python3')) return { reason: 'there is no python3' };
  return capture(await workshop.startReady(workshop.pythonCommand()));
}

async function captureC(...words: string[]): Promise<Capture | Absent> {
  const program = workshop.cProgram();
  if (program === undefined) return { reason: 'there is no C compiler' };
  const target = await workshop.start([program, ...words]);
  return capture(target, parseRegions(await target.ready()));
}

function need(context: TestContext, subject: Capture | Absent): Capture {
  if ('reason' in subject) context.skip(subject.reason);
  return subject as Capture;
}

const hex = (address: number): string => `0x${address.toString(16)}`;

/** The keys at which two maps differ, as text; the first few are enough. */
function differences<T>(
  expected: ReadonlyMap<number, T>,
  found: ReadonlyMap<number, T>,
): readonly string[] {
  const lines: string[] = [];
  for (const address of new Set([...expected.keys(), ...found.keys()])) {
    const left = expected.get(address) ?? 'absent';
    const right = found.get(address) ?? 'absent';
    if (left !== right) lines.push(`${hex(address)}: ${right}, expected ${left}`);
  }
  return lines.slice(0, 20);
}

/** What the image stores, by address. */
function storedIn(image: Image): Map<number, string> {
  const stored = new Map<number, string>();
  const { blocks } = image.mm();
  for (let index = 0; index < blocks.count; index++) {
    const { start, pages } = blocks.at(index);
    for (let page = start; page < start + pages; page++) {
      stored.set(page * PAGE, image.page(page * PAGE).kind);
    }
  }
  return stored;
}

function expectedKinds({ stored }: Reference): Map<number, string> {
  return new Map([...stored].map(([address, { kind }]) => [address, kind]));
}

async function wrongPages(image: Image, reference: Reference): Promise<string[]> {
  const wrong: string[] = [];
  const page = Buffer.alloc(PAGE);
  for (const [address, { bytes }] of reference.stored) {
    if (bytes === null) continue;
    await image.read(address, page);
    if (!page.equals(bytes)) wrong.push(hex(address));
  }
  return wrong;
}

function vmaAt(image: Image, address: number): ImageVma {
  return image.vmas().find(({ start, end }) => start <= address && address < end)!;
}

/** VmFlags of smaps that an image keeps. */
const FLAG_NAMES: { readonly [letters: string]: string } = {
  rd: 'READ',
  wr: 'WRITE',
  ex: 'EXEC',
  sh: 'SHARED',
  mr: 'MAYREAD',
  mw: 'MAYWRITE',
  me: 'MAYEXEC',
  ms: 'MAYSHARE',
  gd: 'GROWSDOWN',
  pf: 'PFNMAP',
  lo: 'LOCKED',
  io: 'IO',
  sr: 'SEQ_READ',
  rr: 'RAND_READ',
  dc: 'DONTCOPY',
  de: 'DONTEXPAND',
  ac: 'ACCOUNT',
  nr: 'NORESERVE',
  ht: 'HUGETLB',
  wf: 'WIPEONFORK',
  dd: 'DONTDUMP',
  mm: 'MIXEDMAP',
  hg: 'HUGEPAGE',
  nh: 'NOHUGEPAGE',
  mg: 'MERGEABLE',
};

/** The mappings as lines: range, pgoff of a file, flags, path. */
function expectedMappings({ pid }: Target, { vmas, fileKinds }: Reference): string[] {
  const exe = readlinkSync(`/proc/${pid}/exe`);
  return vmas.map((vma, at) => {
    const isFile = fileKinds[at] !== 'none';
    const flags = vma.letters.map((letters) => FLAG_NAMES[letters] ?? '').filter(Boolean);
    if (isFile && vma.name === exe) flags.push('EXECUTABLE');
    const { start, end, offset } = vma;
    return mappingLine(start, end, isFile ? offset / PAGE : null, flags, isFile ? vma.name : '');
  });
}

function importedMappings(space: AddressSpace): string[] {
  return space
    .vmas()
    .map(({ start, end, pgoff, flagNames, file }) =>
      mappingLine(
        start,
        end,
        file === null ? null : pgoff,
        flagNames,
        Buffer.from(file ?? '').toString('latin1'),
      ),
    );
}

function mappingLine(
  start: number,
  end: number,
  pgoff: number | null,
  flags: readonly string[],
  path: string,
): string {
  return `${hex(start)}-${hex(end)} ${pgoff ?? '-'} ${[...flags].sort().join(' ')} ${path}`;
}

function fileKindsIn(image: Image): string[] {
  return image.vmas().map(({ file }) => {
    if (file === null) return 'none';
    if (!file.isDeleted) return file.isMemoryBacked ? 'memory-backed' : 'living';
    return file.isMemoryBacked ? 'deleted, memory-backed' : 'deleted';
  });
}

/** The one NT_PRPSINFO of x86-64's <sys/procfs.h>, read by its offsets. */
function parseProcessNote(notes: Uint8Array): object {
  const bytes = Buffer.from(notes);
  expect(bytes.readUInt32LE(0), 'length of the owner').toBe(5);
  expect(bytes.readUInt32LE(4), 'length of struct elf_prpsinfo').toBe(136);
  expect(bytes.readUInt32LE(8), 'NT_PRPSINFO').toBe(3);
  expect(bytes.toString('latin1', 12, 20)).toBe('CORE\0\0\0\0');
  const info = bytes.subarray(20, 20 + 136);
  const text = (from: number, to: number): string => {
    const value = info.toString('latin1', from, to);
    return value.slice(0, value.indexOf('\0'));
  };
  return {
    uid: info.readUInt32LE(16),
    gid: info.readUInt32LE(20),
    pid: info.readInt32LE(24),
    ppid: info.readInt32LE(28),
    name: text(40, 56),
    args: text(56, 136),
  };
}

/** What every process has to live up to, whatever program it runs. */
function describeProcess(name: string, start: () => Promise<Capture | Absent>): void {
  describe(name, () => {
    let subject: Capture | Absent = { reason: 'not started' };
    beforeAll(async () => {
      subject = await start();
    });
    afterAll(async () => {
      if (!('reason' in subject)) await subject.target.kill();
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
      const { reference, process, dump, target } = need(context, subject);
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
      });
      expect(process.pid).toBe(target.pid);
      expect(process.vmas).toBe(reference.vmas.length);
    });

    it('has the mappings, their flags and their files', (context) => {
      const { space, image, reference, target } = need(context, subject);
      expect(importedMappings(space)).toEqual(expectedMappings(target, reference));
      expect(fileKindsIn(image)).toEqual(reference.fileKinds);
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
        expect(vma.pages).toEqual({ copy: 0, zero: 0, clone: 0, guard: 0 });
      }
    });

    it("has the mm's fields, auxv and a note that names the process", async (context) => {
      const { image, reference, target } = need(context, subject);
      const { pid } = target;
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
      const { mms } = await dumper.restore(image, machine);
      const restored = mms[0]!;
      const comparison = await dumper.compare(space, restored);
      expect(comparison).toMatchObject({ equal: true, difference: null });
      expect(restored.addresses()).toEqual(space.addresses());
      expect(Buffer.from(restored.auxv()).equals(space.auxv())).toBe(true);
      expect(wrongIn(restored, reference)).toEqual([]);
    });

    it('verifies', async (context) => {
      const { image, dump } = need(context, subject);
      const { source } = image;
      if (source.reach.kind !== 'memory') throw new Error('the image lies in memory');
      const verification = await verifyImage(source.reach.image, { dumper });
      expect(verification).toMatchObject({ ok: true, problems: [], id: dump.image.id });
    });

    it('leaves a stopped process stopped and its page tables alone', (context) => {
      const { states, changed } = need(context, subject);
      expect(states).toMatch(/^T+$/);
      expect(changed).toEqual([]);
    });

    it('leaves a running process running, its program unharmed', async (context) => {
      const { target, reference } = need(context, subject);
      target.resume();
      const before = await target.request('ping same');
      const machine = createMachine({ memory: 512 * MiB });
      const { processes } = await importProcess(machine, target.pid, { dumper });
      expect(threadStates(target.pid)).toMatch(/^[RSD]+$/);
      expect(processes[0]!.smapsDifferences).toEqual(reference.privileged ? [] : null);
      expect(before).toMatch(/^pong same [0-9a-f]+$/);
      expect(await target.request('ping same')).toBe(before);
    });
  });
}

/** Pages of readable mappings that do not read as they did in the process. */
function wrongIn(space: AddressSpace, { vmas, stored }: Reference): string[] {
  const wrong: string[] = [];
  const page = Buffer.alloc(PAGE);
  for (const { start, end, perms } of vmas) {
    if (!perms.startsWith('r')) continue;
    for (let address = start; address < end; address += PAGE) {
      const bytes = stored.get(address)?.bytes;
      if (bytes === null || bytes === undefined) continue;
      space.read(address, page);
      if (!page.equals(bytes)) wrong.push(hex(address));
    }
  }
  return wrong;
}

const maxMappings = Number(readFileSync('/proc/sys/vm/max_map_count', 'latin1'));

async function captureRegions(): Promise<Capture | Absent> {
  if (maxMappings < 32_000) return { reason: `vm.max_map_count is ${maxMappings}` };
  const directories = [workshop.newDirectory(), workshop.newMemoryDirectory()];
  return captureC('regions', '30400', ...directories); // a hundredth of them become holes
}

describeProcess('a Node process', captureNode);
describeProcess('a Python process', capturePython);

let regions: Capture | Absent = { reason: 'not started' };
describeProcess('a C process with 30 000 mappings of one page', async () => {
  regions = await captureRegions();
  return regions;
});

describe('the regions of the C process', () => {
  /** 'copy', 'zero', 'guard' or 'absent' for each page, abbreviated: 'c.zg'. */
  function picture(context: TestContext, name: string): string {
    const { image, regions: found } = need(context, regions);
    const region = found.find((one) => one.name === name);
    if (region === undefined) context.skip(`this system does not provide '${name}'`);
    const { start, end } = region!;
    let text = '';
    for (let address = start; address < end; address += PAGE) {
      const { kind } = image.page(address);
      text += kind === 'absent' ? '.' : kind.charAt(0);
    }
    return text;
  }

  it('30 000 mappings: data, zeros, untouched, and holes', (context) => {
    const { regions: found, reference, image } = need(context, regions);
    const { start, end } = found.find(({ name }) => name === 'many')!;
    const inside = reference.vmas.filter((vma) => start <= vma.start && vma.end <= end);
    expect(inside.length).toBeGreaterThanOrEqual(30_000);
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
    // File pages: 0 1 data, 2 9 zeros, 5 10 data. The private mapping hides pages 0 and 3.
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
  });

  it('memory with advice', (context) => {
    expect(picture(context, 'dontdump')).toBe('.c..');
    expect(picture(context, 'dontfork')).toBe('c...');
    expect(picture(context, 'locked').charAt(1)).toBe('c');
  });
});

describe('awkward mappings', () => {
  it('a huge page whose leaf was split agrees with smaps all the same', async (context) => {
    const subject = need(context, await captureC('split'));
    try {
      expect(differences(expectedKinds(subject.reference), storedIn(subject.image))).toEqual([]);
      const { smapsDifferences } = subject.process;
      expect(smapsDifferences).toEqual(subject.reference.privileged ? [] : null);
    } finally {
      await subject.target.kill();
    }
  });

  it('brk is the end of the heap, be it of several mappings', async (context) => {
    const subject = need(context, await captureC('heap'));
    try {
      const { start: brk } = subject.regions[0]!; // sbrk(0), a whole page
      expect(hex(subject.image.mm().fields.brk)).toBe(hex(brk));
    } finally {
      await subject.target.kill();
    }
  });

  it.for(['private', 'shared'])(
    'a guard page of a %s mapping hides no data of the file',
    async (sharing, context) => {
      const subject = need(context, await captureC(`${sharing}-guards`));
      try {
        const { image, reference, regions: found } = subject;
        if (found.length === 0) context.skip('no guard pages in mappings of files here');
        const [first, second] = found as [Region, Region];
        expect(image.page(first.start + PAGE).kind).toBe('guard');
        expect(image.page(first.start + 2 * PAGE).kind).toBe('guard');
        const bytes = Buffer.alloc(4 * PAGE);
        await image.read(second.start, bytes);
        const expected = withFile(`/proc/${subject.target.pid}/mem`, (mem) =>
          Buffer.concat([0, 1, 2, 3].map((page) => readPage(mem, second.start + page * PAGE))),
        );
        expect(reference.entries.guard).toBe(2);
        expect(bytes.equals(expected)).toBe(true);
      } finally {
        await subject.target.kill();
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
    const path = join(workshop.newDirectory(), name);
    writeFileSync(path, Buffer.alloc(PAGE, 'file'));
    const subject = need(context, await captureC('files', path));
    try {
      const vma = vmaAt(subject.image, subject.regions[0]!.start);
      expect(vma?.file?.path).toBe(path);
      expect(vma.file).toMatchObject({ isDeleted: false, isMemoryBacked: false, size: PAGE });
      expect(subject.image.vmas().length).toBe(subject.reference.vmas.length);
    } finally {
      await subject.target.kill();
    }
  });

  it('a file in memory with two names is stored once', async (context) => {
    if (workshop.memoryDirectory === '') context.skip('/dev/shm is no tmpfs');
    const directory = workshop.newMemoryDirectory();
    const names = [join(directory, 'one name'), join(directory, 'another name')] as const;
    writeFileSync(names[0], Buffer.alloc(PAGE, 'memory'));
    linkSync(names[0], names[1]);
    const subject = need(context, await captureC('files', ...names));
    try {
      const { image, reference, regions: found, dump } = subject;
      expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
      expect(found.map(({ start }) => image.page(start).kind)).toEqual(['copy', 'absent']);
      const files = found.map(({ start }) => vmaAt(image, start).file?.id);
      expect(files[0]).toBe(files[1]);
      expect(dump.mms[0]!.pages.copy).toBeGreaterThan(0);
    } finally {
      await subject.target.kill();
    }
  });
});

const NOBODY = 65_534;
const mmdumpUrl = pathToFileURL(createRequire(import.meta.url).resolve('mmdump')).href;

/** What the importer says of its work. */
interface ImporterReport {
  readonly process: ProcessReport;
  readonly pages: { readonly copy: number; readonly zero: number };
  readonly equal: boolean;
  readonly difference: unknown;
}

describe('with less privilege', () => {
  /** Imports in another process what that process started, and hands over both views of it. */
  async function importElsewhere(
    context: TestContext,
    prefix: readonly string[],
    command: readonly string[],
    uid: number,
  ): Promise<{ report: ImporterReport; reference: Reference; image: Image }> {
    if (process.getuid!() !== 0) context.skip('the tests themselves run without privilege');
    const output = join(workshop.newDirectory(uid), 'image.cpt');
    const words = [...prefix, ...workshop.importerCommand(mmdumpUrl, output, command)];
    const importer = await workshop.start(words, { uid, gid: uid }).catch((error: unknown) => {
      return context.skip(`no process of user ${uid} can be started here: ${error}`);
    });
    try {
      const hello = JSON.parse(await importer.line()) as { refused?: string; pid?: number };
      if (hello.refused !== undefined) context.skip(`user ${uid} cannot run it: ${hello.refused}`);
      const pid = hello.pid!;
      workshop.adopt(pid);
      await stopProcess(pid);
      const reference = readReference(pid);
      const report = JSON.parse(await importer.request('go')) as ImporterReport;
      expect(report).not.toHaveProperty('message');
      expect(threadStates(pid)).toMatch(/^T+$/);
      return { report, reference, image: await open(output) };
    } finally {
      await importer.kill();
    }
  }

  function expectBlindImport(
    { process: found, pages, equal, difference }: ImporterReport,
    reference: Reference,
    image: Image,
  ): void {
    const { content, zero, guard } = reference.entries;
    expect(found).toMatchObject({
      sharingKnown: false,
      smapsDifferences: null,
      contentPages: content + zero,
      zeroPages: 0,
      guardPages: guard,
    });
    expect(differences(expectedKinds(reference), storedIn(image))).toEqual([]);
    const kinds = [...reference.stored.values()].map(({ kind }) => kind);
    expect(pages).toMatchObject({
      copy: kinds.filter((kind) => kind === 'copy').length,
      zero: kinds.filter((kind) => kind === 'zero').length,
    });
    expect({ equal, difference }).toEqual({ equal: true, difference: null });
  }

  it('another user sees the same pages of a Node process', async (context) => {
    const command = workshop.nodeCommand();
    const { report, reference, image } = await importElsewhere(context, [], command, NOBODY);
    expectBlindImport(report, reference, image);
    expect(await wrongPages(image, reference)).toEqual([]);
  });

  it('another user sees the same pages of the C process', async (context) => {
    const program = workshop.cProgram();
    if (program === undefined) context.skip('there is no C compiler');
    const command = [
      program!,
      'regions',
      '2000',
      workshop.newDirectory(NOBODY),
      workshop.newMemoryDirectory(NOBODY),
    ];
    const { report, reference, image } = await importElsewhere(context, [], command, NOBODY);
    expectBlindImport(report, reference, image);
    expect(await wrongPages(image, reference)).toEqual([]);
  });

  it('root without CAP_SYS_ADMIN, as in a container, says what it does not know', async (context) => {
    if (!isInstalled('setpriv')) context.skip('there is no setpriv');
    const prefix = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin'];
    const program = workshop.cProgram();
    const words = ['regions', '100', workshop.newDirectory(), workshop.newMemoryDirectory()];
    const command = program === undefined ? workshop.nodeCommand() : [program, ...words];
    const { report, reference, image } = await importElsewhere(context, prefix, command, 0);
    expectBlindImport(report, reference, image);
  });
});

/** The error that `action` rejects with. */
async function failure(action: Promise<unknown>): Promise<unknown> {
  try {
    await action;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

/** Files of /proc that this process has open. */
function openProcFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return /^\/proc\/(\d+\/(mem|pagemap)|kpage)/.test(path) ? [path] : [];
    } catch {
      return []; // the one that the directory was read by
    }
  });
}

/** A machine, and the assertion that it is as if nothing had ever happened. */
function freshMachine(memory: number): { machine: Machine; expectUntouched: () => void } {
  const machine = createMachine({ memory });
  const { free } = machine.memory;
  const listeners = process.listenerCount('exit');
  return {
    machine,
    expectUntouched() {
      expect(machine.memory.free).toBe(free);
      expect(machine.addressSpaces()).toEqual([]);
      expect(openProcFiles()).toEqual([]);
      expect(process.listenerCount('exit')).toBe(listeners);
    },
  };
}

describe('what cannot be imported', () => {
  async function expectRefusal(pid: number, ...codes: readonly string[]): Promise<void> {
    const { machine, expectUntouched } = freshMachine(64 * MiB);
    const error = await failure(importProcess(machine, pid, { dumper }));
    expect(error).toBeInstanceOf(MmdumpError);
    const { code, message } = error as MmdumpError;
    expect(codes, message).toContain(code);
    expect(message).toContain(String(pid));
    expectUntouched();
  }

  it('a pid that no process has', async () => {
    await expectRefusal(4_194_305, 'PROCESS_NOT_FOUND'); // beyond the largest pid of Linux
  });

  it.for([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('the pid %s', async (pid) => {
    await expectRefusal(pid, 'OPTION_INVALID');
  });

  it('this very process', async () => {
    await expectRefusal(process.pid, 'OPTION_INVALID');
  });

  it('a zombie', async (context) => {
    const program = workshop.cProgram();
    if (program === undefined) context.skip('there is no C compiler');
    const target = await workshop.start([program!, 'zombie']);
    const [line] = await target.ready();
    const pid = Number(line!.split(' ')[1]);
    expect(statField(pid, 3)).toBe('Z');
    await expectRefusal(pid, 'PROCESS_GONE');
    await target.kill();
  });

  it('a thread of the kernel', async (context) => {
    const isKernel = isReadable('/proc/2/comm') && readFileSync('/proc/2/comm', 'latin1');
    if (isKernel !== 'kthreadd\n') context.skip('no thread of the kernel is to be seen');
    await expectRefusal(2, 'PROCESS_GONE', 'PROCESS_DENIED');
  });

  it('a process of somebody else, without privilege', async (context) => {
    if (process.getuid!() === 0) context.skip('root may read every process');
    if (statSync('/proc/1').uid === process.getuid!()) context.skip('process 1 is ours here');
    await expectRefusal(1, 'PROCESS_DENIED');
  });
});

describe('an import that fails in the middle', () => {
  const workingDirectory = workshop.newDirectory();

  /** The dumper still works, and writes what it is asked to and nothing else. */
  async function expectUsable(): Promise<void> {
    const target = await workshop.startReady(workshop.nodeCommand());
    const machine = createMachine({ memory: 256 * MiB });
    const { mms } = await importProcess(machine, target.pid, { dumper });
    const path = join(workingDirectory, 'after.cpt');
    await dumper.dump(mms[0]!, { to: fileSink(path, { force: true }) });
    expect(readdirSync(workingDirectory)).toEqual(['after.cpt']);
    await target.kill();
  }

  const startLarge = (mib: number): Promise<Target> =>
    workshop.startReady(workshop.largeCommand(mib));

  it('a machine that is too small: ENOMEM, and the process goes on', async () => {
    const target = await workshop.startReady(workshop.nodeCommand());
    const { machine, expectUntouched } = freshMachine(8 * MiB);
    const error = await failure(importProcess(machine, target.pid, { dumper }));
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'ENOMEM', fields: { pid: target.pid } });
    expectUntouched();
    expect(await target.request('ping small')).toMatch(/^pong small /);
    expect(threadStates(target.pid)).toMatch(/^[RSD]+$/);
    await expectUsable();
    await target.kill();
  });

  it('aborted before it began', async () => {
    const target = await workshop.startReady(workshop.nodeCommand());
    const { machine, expectUntouched } = freshMachine(256 * MiB);
    const signal = AbortSignal.abort();
    const error = await failure(importProcess(machine, target.pid, { dumper, signal }));
    expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    expectUntouched();
    expect(await target.request('ping early')).toMatch(/^pong early /);
    await target.kill();
  });

  it('aborted as soon as the process stands still', async () => {
    const target = await startLarge(256);
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    const controller = new AbortController();
    const { signal } = controller;
    const failed = failure(importProcess(machine, target.pid, { dumper, signal }));
    await until('the import has stopped it', () => /^T+$/.test(threadStates(target.pid)));
    controller.abort();
    expect(await failed).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    expectUntouched();
    expect(await target.request('ping abort')).toMatch(/^pong abort /);
    await expectUsable();
    await target.kill();
  });

  /** Aborts while pages are loaded; false if the process was too small for that. */
  async function abortWhileLoading(mib: number): Promise<boolean> {
    const target = await startLarge(mib);
    const { machine, expectUntouched } = freshMachine((mib + 256) * MiB);
    const controller = new AbortController();
    let wasEarly = false;
    const onProgress = (progress: { pages: number; totalPages: number }): void => {
      wasEarly ||= progress.pages < progress.totalPages;
      if (wasEarly) controller.abort();
    };
    const { signal } = controller;
    const imported = importProcess(machine, target.pid, { dumper, signal, onProgress });
    const error = await imported.catch((reason: unknown) => reason);
    if (wasEarly) {
      expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
      expectUntouched();
    }
    expect(await target.request('ping load')).toMatch(/^pong load /);
    await target.kill();
    return wasEarly;
  }

  it('aborted while pages are loaded', async (context) => {
    for (const mib of [256, 512, 1024]) if (await abortWhileLoading(mib)) return;
    context.skip('1 GiB is loaded here before any progress is told');
  });

  it('the process is killed while its pages are loaded: PROCESS_GONE', async () => {
    const target = await startLarge(320);
    const { pid } = target;
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    let isAlive = true;
    const onProgress = (): void => {
      if (!isAlive) return;
      isAlive = false;
      process.kill(pid, 'SIGKILL');
      // Nobody reaps it while this thread does not turn: it stays a zombie, and is seen as one.
      untilNow('it is dead', () => /^Z*$/.test(threadStates(pid)));
    };
    const error = await failure(importProcess(machine, pid, { dumper, onProgress }));
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'PROCESS_GONE', fields: { pid } });
    await target.ended();
    expectUntouched();
    await expectUsable();
  });

  it('the process is killed as soon as it stands still: PROCESS_GONE', async () => {
    const target = await startLarge(256);
    const { pid } = target;
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    const failed = failure(importProcess(machine, pid, { dumper }));
    await until('the import has stopped it', () => /^T+$/.test(threadStates(pid)));
    process.kill(pid, 'SIGKILL');
    const error = await failed;
    expect(error).toBeInstanceOf(MmdumpError);
    expect(error).toMatchObject({ code: 'PROCESS_GONE', fields: { pid } });
    await target.ended();
    expectUntouched();
    await expectUsable();
  });

  it('the importing process exits in the middle: the process goes on', async (context) => {
    const target = await startLarge(256);
    const words = workshop.importerCommand(mmdumpUrl, '', ['--pid', String(target.pid)]);
    const importer = await workshop.start(words);
    expect(JSON.parse(await importer.line())).toEqual({ pid: target.pid });
    const answer = await importer.request('go').catch(() => 'it has exited');
    if (answer.includes('PROCESS_DENIED')) context.skip('only its parent may read a process here');
    expect(answer).toBe('it has exited');
    await importer.ended();
    expect(await target.request('ping alone')).toMatch(/^pong alone /);
    await target.kill();
  });
});
