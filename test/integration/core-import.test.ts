/** Imports of ELF core files: hand-made ones of every shape, and bad ones. */
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CoreImport,
  type CoreOptions,
  createDumper,
  createMachine,
  type Dumper,
  importCore,
  MiB,
  MmdumpError,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hasNativeCalls } from '../../src/shared/native/library.ts';
import {
  auxvNote,
  type BuiltSegment,
  buildCore,
  type CoreLayout,
  fileNote,
  threadNote,
} from '../support/core/build-core.ts';
import { pageOf, readCore } from '../support/core/slow-core.ts';

const folder = mkdtempSync(join(tmpdir(), 'mmdump-core-'));
let dumper: Dumper;
const open: CoreImport[] = [];
let files = 0;

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterEach(async () => {
  for (const { release } of open.splice(0)) await release();
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

function save(bytes: Uint8Array): string {
  const path = join(folder, `core.${files++}`);
  writeFileSync(path, bytes);
  return path;
}

/** Pages that differ from each other. */
function pages(count: number, seed: number): Buffer {
  const bytes = Buffer.alloc(count * PAGE_SIZE);
  return Buffer.from(bytes.map((_, at) => ((at >> 12) * 7 + seed + (at & 63)) & 0xff));
}

const HEAP = 0x5555_0000_0000n;
const TEXT = 0x5555_0010_0000n;
const STACK = 0x7fff_0000_0000n;

/** A core with all kinds of segments. `program`: the file behind two of them. */
function shapes(program: string, layout: CoreLayout = {}): Buffer {
  const segments: BuiltSegment[] = [
    { address: HEAP, flags: 6, bytes: 0x5000n, content: pages(5, 1) },
    { address: HEAP + 0x5000n, flags: 6, bytes: 0x3000n, content: Buffer.alloc(0) },
    { address: TEXT, flags: 5, bytes: 0x3000n, content: pages(1, 90) },
    { address: TEXT + 0x3000n, flags: 6, bytes: 0x2000n, content: pages(2, 40) },
    { address: STACK, flags: 6, bytes: 0x2000n, content: pages(2, 60) },
    { address: 0xffff_ffff_ff60_0000n, flags: 4, bytes: 0x1000n, content: pages(1, 3) },
  ];
  const notes = [
    threadNote(77, [1n, 2n], 11),
    auxvNote([3, TEXT + 64n], [31, STACK + 0x1ff0n]),
    fileNote([
      [TEXT, TEXT + 0x3000n, 0n, program],
      [TEXT + 0x3000n, TEXT + 0x4000n, 3n, program],
    ]),
    threadNote(78, [3n]),
    { owner: 'GDB', type: 0xff00_0000, payload: Buffer.from('unknown') },
  ];
  return buildCore(segments, notes, layout);
}

async function imported(bytes: Uint8Array, options: CoreOptions = {}): Promise<CoreImport> {
  const path = save(bytes);
  const result = await dumper.importCore((memory) => createMachine({ memory }), path, options);
  open.push(result);
  return result;
}

async function failure(job: Promise<unknown>): Promise<string> {
  try {
    await job;
  } catch (error) {
    if (error instanceof MmdumpError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no error';
}

const LOADS = ['now', 'on-demand'] as const;

describe.each(LOADS)('a core that is loaded %s', (load) => {
  it('becomes mappings, pages, notes and a vector', async () => {
    const bytes = shapes('/no/such/file');
    const slow = readCore(bytes);
    const { mm, core } = await imported(bytes, { load });
    expect(core).toMatchObject({
      segments: 5,
      vmas: 5,
      threads: [77, 78],
      signal: 11,
      contentPages: 10,
      missingFiles: ['/no/such/file'],
    });
    const seen = mm.vmas().map(({ start, end, prot, file, pgoff }) => {
      return [start, end, prot, file, file === null ? 0 : pgoff];
    });
    const [heap, text, stack] = [HEAP, TEXT, STACK].map(Number) as [number, number, number];
    expect(seen).toEqual([
      [heap, heap + 0x8000, 'rw-p', null, 0],
      [text, text + 0x3000, 'r-xp', '/no/such/file (deleted)', 0],
      [text + 0x3000, text + 0x4000, 'rw-p', '/no/such/file (deleted)', 3],
      [text + 0x4000, text + 0x5000, 'rw-p', null, 0],
      [stack, stack + 0x2000, 'rw-p', null, 0],
    ]);
    expect(Buffer.compare(mm.notes(), slow.notes)).toBe(0);
    expect(mm.auxv().length).toBe(48);
    const page = Buffer.alloc(PAGE_SIZE);
    for (const { start, end } of mm.vmas()) {
      for (let at = start; at < end; at += PAGE_SIZE) {
        const expected = pageOf(bytes, slow, at);
        if (expected === null && at > text && at < text + 0x3000) {
          expect(() => mm.read(at, page)).toThrow(/is unknown: the file was loaded without it/);
          continue;
        }
        mm.read(at, page);
        expect(page.equals(expected ?? Buffer.alloc(PAGE_SIZE)), at.toString(16)).toBe(true);
      }
    }
    mm.fill(heap, 1, 9); // private memory can be written
    expect(mm.vmas().at(-1)!.flagNames).toContain('GROWSDOWN');
    expect(mm.vmas()[1]!.flagNames).toContain('EXECUTABLE');
  });

  it('is the same wherever its pages begin in the file, and with a section header', async () => {
    for (const layout of [{ remainder: 0x628 }, { remainder: 4095 }, { isExtended: true }]) {
      const bytes = shapes('/no/such/file', layout);
      const { mm } = await imported(bytes, { load });
      const page = Buffer.alloc(PAGE_SIZE);
      for (const at of [HEAP, HEAP + 0x4000n, STACK + 0x1000n].map(Number)) {
        mm.read(at, page);
        expect(page.equals(pageOf(bytes, readCore(bytes), at)!)).toBe(true);
      }
    }
  });

  it('is dumped with every page that it holds', async () => {
    const bytes = shapes('/no/such/file', { remainder: 16 });
    const { mm } = await imported(bytes, { load });
    const sink = memorySink();
    const { mms } = await dumper.dump(mm, { to: sink });
    expect(mms[0]!.pages).toMatchObject({ copy: 10, zero: 0 });
    const image = await openImage(sink.image);
    for (const { start, end } of image.mms()[0]!.vmas) {
      for (let at = start; at < end; at += PAGE_SIZE) {
        const expected = pageOf(bytes, readCore(bytes), at);
        if (expected === null) continue;
        const page = Buffer.alloc(PAGE_SIZE);
        await image.read(at, page);
        expect(page.equals(expected)).toBe(true);
      }
    }
    const { notes } = readCore(bytes); // the image pads them to a multiple of 8
    expect(
      Buffer.from(await image.notes())
        .subarray(0, notes.length)
        .equals(notes),
    ).toBe(true);
    await image.close();
  });

  it('takes from a file at hand what it lacks, if it is the same file', async () => {
    const same = Buffer.concat([pages(1, 90), pages(4, 5)]);
    const program = save(same);
    const at = Number(TEXT);
    const page = Buffer.alloc(PAGE_SIZE);
    const { mm, core } = await imported(shapes(program), { load });
    expect(core.missingFiles).toEqual([]);
    mm.read(at + PAGE_SIZE, page);
    expect(page.equals(pages(4, 5).subarray(0, PAGE_SIZE))).toBe(true);

    const other = save(Buffer.concat([pages(1, 91), pages(4, 5)]));
    const second = await imported(shapes(other), { load });
    expect(second.core.missingFiles).toEqual([other]);
    expect(() => second.mm.read(at + PAGE_SIZE, page)).toThrow();
  });
});

describe('holes of a core', () => {
  it('are skipped, so that 20 GiB open at once', async (context) => {
    const bytes = buildCore(
      [{ address: HEAP, flags: 6, bytes: 0x5_0000_0000n, content: Buffer.alloc(0) }],
      [],
    );
    bytes.writeBigUInt64LE(0x5_0000_0000n, 64 + 56 + 32); // p_filesz
    bytes.writeBigUInt64LE(0x1000n, 64 + 56 + 8);
    const path = save(bytes);
    const fd = openSync(path, 'r+');
    ftruncateSync(fd, 0x5_0000_1000);
    writeSync(fd, pages(2, 8), 0, 2 * PAGE_SIZE, 0x2_0000_0000);
    closeSync(fd);
    const result = await importCore((memory) => createMachine({ memory }), path, {
      load: 'on-demand',
      dumper,
    });
    open.push(result);
    const { mm, core } = result;
    const page = Buffer.alloc(PAGE_SIZE);
    mm.read(Number(HEAP) + 0x2_0000_0000 - 0x1000, page);
    expect(page.equals(pages(2, 8).subarray(0, PAGE_SIZE))).toBe(true);
    mm.read(Number(HEAP) + 0x4_0000_0000, page);
    expect(page.every((byte) => byte === 0)).toBe(true);
    if (!core.holesKnown) context.skip('holes cannot be found on this file system');
    // Without lseek they are found in steps of 4 MiB.
    expect(core.contentPages).toBeLessThanOrEqual(hasNativeCalls() ? 64 : 4096);
    expect(core.contentPages).toBeGreaterThanOrEqual(2);
  });
});

describe('release', () => {
  it('lets go of the file: what was not loaded is lost', async () => {
    const result = await imported(shapes('/no/such/file'), { load: 'on-demand' });
    const page = Buffer.alloc(PAGE_SIZE);
    result.mm.read(Number(HEAP), page);
    await result.release();
    await result.release();
    result.mm.read(Number(HEAP), page);
    expect(() => result.mm.read(Number(HEAP) + PAGE_SIZE, page)).toThrow(/it was released/);
    const dump = dumper.dump(result.mm, { to: memorySink() });
    expect(await failure(dump)).toMatch(
      /^INPUT_FAILED: mm 0, VMA 0x(5555|7fff)00000000-0x[0-9a-f]+: the page at byte \d+ of the file behind it cannot be read: it was released/,
    );
  });

  it('comes too late for a dump if the file was changed meanwhile', async () => {
    const path = save(shapes('/no/such/file'));
    const result = await dumper.importCore((memory) => createMachine({ memory }), path, {
      load: 'on-demand',
    });
    open.push(result);
    writeFileSync(path, Buffer.concat([shapes('/no/such/file'), Buffer.alloc(1)]));
    expect(await failure(dumper.dump(result.mm, { to: memorySink() }))).toBe(
      `INPUT_FAILED: core '${path}': it was changed while its pages were in use`,
    );
  });
});

describe('a bad core', () => {
  const good = shapes('/no/such/file');
  const change = (write: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(good);
    write(bytes);
    return bytes;
  };
  const first = 64 + 56; // the first PT_LOAD
  const many = (): Buffer => {
    const bytes = Buffer.alloc(0x2000 + 1_000_000 * 56);
    good.copy(bytes, 0, 0, 64);
    bytes.writeUInt16LE(0xffff, 56);
    bytes.writeBigUInt64LE(0x1000n, 40);
    bytes.writeUInt32LE(1_000_000, 0x1000 + 44);
    bytes.writeBigUInt64LE(0x2000n, 32);
    for (let index = 0; index < 1_000_000; index++) {
      const at = 0x2000 + index * 56;
      bytes.writeUInt32LE(1, at);
      bytes.writeUInt32LE(index % 2 === 0 ? 4 : 6, at + 4);
      bytes.writeBigUInt64LE(HEAP + BigInt(index) * 4096n, at + 16);
      bytes.writeBigUInt64LE(4096n, at + 40);
    }
    return bytes;
  };
  const rows: readonly (readonly [what: string, bytes: () => Buffer, message: RegExp])[] = [
    ['is empty', () => Buffer.alloc(0), /^IMAGE_NOT_RECOGNISED: core '.*': it is no ELF file$/],
    ['is of 32 bits', () => change((b) => b.writeUInt8(1, 4)), /^IMAGE_VERSION: .*32-bit/],
    ['is big-endian', () => change((b) => b.writeUInt8(2, 5)), /^IMAGE_VERSION: .*big-endian/],
    [
      'is of another machine',
      () => change((b) => b.writeUInt16LE(183, 18)),
      /^IMAGE_VERSION: .*machine 183/,
    ],
    [
      'is a program',
      () => change((b) => b.writeUInt16LE(3, 16)),
      /^IMAGE_NOT_RECOGNISED: .*a shared object, not a core/,
    ],
    [
      'was cut',
      () => good.subarray(0, good.length - 0x1001),
      /^IMAGE_TRUNCATED: .*would end at byte \d+, and the file ends at \d+$/,
    ],
    [
      'was cut in its headers',
      () => good.subarray(0, 200),
      /^IMAGE_TRUNCATED: .*its program headers would end/,
    ],
    [
      'has a wild segment',
      () => change((b) => b.writeBigUInt64LE(1n << 60n, first + 16)),
      /^IMAGE_CORRUPT: .*beyond user space/,
    ],
    [
      'has segments that overlap',
      () => change((b) => b.writeBigUInt64LE(HEAP + 0x1000n, first + 56 + 16)),
      /^IMAGE_CORRUPT: .*overlap in memory/,
    ],
    [
      'has 2^32 - 1 segments',
      () =>
        change((b) => {
          b.writeUInt16LE(0xffff, 56);
          b.writeBigUInt64LE(BigInt(b.length - 64), 40);
          b.writeUInt32LE(0xffff_ffff, b.length - 20);
        }),
      /^IMAGE_TOO_LARGE: .*has 4294967295 segments, and 1048576 are the most$/,
    ],
    [
      'has 10^6 segments',
      many,
      /^IMAGE_TOO_LARGE: .*more than 65530 mappings, the most of an address space$/,
    ],
    [
      'has a note of 4 GiB',
      () => change((b) => b.writeUInt32LE(0xffff_fff0, 64 + 6 * 56 + 56 + 4)),
      /^IMAGE_CORRUPT: .*a note has a name of 5 and 4294967280 bytes, and \d+ are left$/,
    ],
    [
      'has notes of 2^60 bytes',
      () => change((b) => b.writeBigUInt64LE(1n << 60n, 64 + 32)),
      /^IMAGE_TRUNCATED: .*its notes would end/,
    ],
  ];
  it.each(rows)('that %s is refused with one line', async (_what, bytes, message) => {
    const path = save(bytes());
    const machine = createMachine({ memory: 16 * MiB });
    const { free } = machine.memory;
    expect(await failure(dumper.importCore(machine, path))).toMatch(message);
    expect(machine.memory.free).toBe(free);
    expect(machine.addressSpaces()).toEqual([]);
  });

  it('that is not there, or is no file, is INPUT_FAILED', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    expect(await failure(dumper.importCore(machine, join(folder, 'none')))).toMatch(
      /^INPUT_FAILED: .*none: no such file/,
    );
    expect(await failure(dumper.importCore(machine, folder))).toMatch(
      /^INPUT_FAILED: .*is not a regular file/,
    );
  });

  it('that does not fit into the machine is ENOMEM, and takes nothing', async () => {
    const content = pages(600, 1);
    const path = save(
      buildCore([{ address: HEAP, flags: 6, bytes: BigInt(content.length), content }], []),
    );
    const machine = createMachine({ memory: 2 * MiB });
    const { free } = machine.memory;
    expect(await failure(dumper.importCore(machine, path))).toMatch(
      /^ENOMEM: core '.*' needs up to \d+ MiB/,
    );
    expect(machine.memory.free).toBe(free);
  });
});
