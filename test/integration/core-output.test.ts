/** Dumps that become ELF core files: their pages, segments and notes, read by a second reader. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  type DumpOptions,
  explainPage,
  fileSink,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
  splitSink,
  streamSink,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { note, threadNote } from '../support/core/build-core.ts';
import { pageOf, readCore, type SlowCore } from '../support/core/slow-core.ts';

const folder = mkdtempSync(join(tmpdir(), 'mmdump-core-out-'));
let dumper: Dumper;
let files = 0;

beforeAll(async () => {
  dumper = await createDumper({ workers: 3 });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

function freshPath(): string {
  return join(folder, `core.${files++}`);
}

async function coreOf(
  space: AddressSpace,
  options: Omit<DumpOptions, 'to'> = {},
  by: Dumper = dumper,
): Promise<Buffer> {
  const path = freshPath();
  const report = await by.dump(space, { format: 'elf', ...options, to: fileSink(path) });
  expect(report.image).toMatchObject({ path, format: 'elf', id: '' });
  const bytes = readFileSync(path);
  expect(bytes.length).toBe(report.image.bytes);
  return bytes;
}

/**
 * Compares every page of the mm with the core. Returns the pages that the core has. A page that it
 * lacks is one that no dump stores, since readers take it from the mapped file.
 */
async function checkPages(space: AddressSpace, bytes: Buffer, core: SlowCore): Promise<number> {
  const page = Buffer.alloc(PAGE_SIZE);
  let stored = 0;
  for (const { start, end, prot, file } of space.vmas()) {
    for (let at = start; at < end; at += PAGE_SIZE) {
      const found = pageOf(bytes, core, at);
      if (found !== null) stored++;
      if (found === null && file !== null) {
        expect((await explainPage(space, at)).class, at.toString(16)).toBe('absent');
        continue;
      }
      if (prot[0] !== 'r') continue;
      space.read(at, page);
      expect(page.equals(found ?? Buffer.alloc(PAGE_SIZE)), at.toString(16)).toBe(true);
    }
  }
  return stored;
}

/** The segments of a core cover the mappings, and nothing else. */
function checkCover(space: AddressSpace, { segments }: SlowCore): void {
  const joined: [number, number][] = [];
  for (const { start, end } of segments) {
    const last = joined.at(-1);
    if (last?.[1] === start) last[1] = end;
    else joined.push([start, end]);
  }
  const mapped: [number, number][] = [];
  for (const { start, end } of space.vmas()) {
    const last = mapped.at(-1);
    if (last?.[1] === start) last[1] = end;
    else mapped.push([start, end]);
  }
  expect(joined).toEqual(mapped);
}

describe('a core file', () => {
  it('has every page of a workload, and the same bytes by every way to write it', async () => {
    const { space, machine } = await createWorkload('mixed', { size: 8 * MiB, seed: 5 });
    const bytes = await coreOf(space);
    const core = readCore(bytes);
    checkCover(space, core);
    for (const { offset, stored } of core.segments) {
      expect(offset % PAGE_SIZE).toBe(0);
      expect(stored % PAGE_SIZE).toBe(0);
    }
    const one = await createDumper({ workers: 1 });
    try {
      expect((await coreOf(space, { unitBytes: 2 * MiB }, one)).equals(bytes)).toBe(true);
    } finally {
      await one.close();
    }
    const chunks: Buffer[] = [];
    const stream = new Writable({
      write: (chunk, _encoding, done) => {
        chunks.push(Buffer.from(chunk));
        done();
      },
    });
    await dumper.dump(space, { format: 'elf', to: streamSink(stream) });
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
    const memory = memorySink();
    await dumper.dump(space, { format: 'elf', to: memory });
    const held = Buffer.concat(memory.image!.chunks).subarray(0, memory.image!.bytes);
    expect(held.equals(bytes)).toBe(true);
    const parts = freshPath();
    await dumper.dump(space, { format: 'elf', to: splitSink(parts, { parts: 3 }) });
    const joined = [0, 1, 2].map((part) => readFileSync(`${parts}.00${part}`));
    expect(Buffer.concat(joined).equals(bytes)).toBe(true);
    const estimate = await dumper.estimate(space, { format: 'elf' });
    expect(estimate.image).toEqual({ path: null, format: 'elf', bytes: bytes.length, id: null });
    const running = await coreOf(space, { freeze: false });
    expect(running.equals(bytes)).toBe(true);
    expect(await checkPages(space, bytes, core)).toBeGreaterThan(1000);
    await machine.close();
  });

  it('has the same bytes where long runs are written from where they lie', async () => {
    const machine = createMachine({ memory: 32 * MiB });
    const space = machine.createAddressSpace();
    const length = 12 * MiB;
    const at = space.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
    let page = 0;
    // Short and long runs, with pages of zeros, absent pages and nothing between them.
    for (const [run, gap] of [
      [3, 1],
      [63, 0],
      [64, 2],
      [65, 5],
      [700, 1],
      [1, 1],
      [64, 1],
      [900, 0],
    ] as const) {
      for (let each = 0; each < run; each++, page++) {
        space.fill(at + page * PAGE_SIZE, PAGE_SIZE, (page % 255) + 1);
      }
      if (gap > 1) space.fill(at + page * PAGE_SIZE, PAGE_SIZE, 0);
      page += gap;
    }
    for (const options of [{}, { zeroPages: 'copy' }, { unitBytes: 2 * MiB }] as const) {
      const memory = memorySink();
      await dumper.dump(space, { format: 'elf', ...options, to: memory });
      const expected = Buffer.concat(memory.image!.chunks).subarray(0, memory.image!.bytes);
      expect((await coreOf(space, options)).equals(expected)).toBe(true);
      expect((await coreOf(space, { ...options, freeze: false })).equals(expected)).toBe(true);
      const path = freshPath();
      await dumper.dump(space, {
        format: 'elf',
        ...options,
        to: fileSink(path, { sparse: false }),
      });
      expect(readFileSync(path).equals(expected)).toBe(true);
    }
    const bytes = await coreOf(space);
    expect(await checkPages(space, bytes, readCore(bytes))).toBeGreaterThan(1860);
    await machine.close();
  });

  it('tells stored pages, pages of zeros and absent pages apart', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const at = space.mmap({ length: 16 * PAGE_SIZE, prot: 'rw', flags: ['private', 'anonymous'] });
    space.fill(at + 2 * PAGE_SIZE, PAGE_SIZE, 7);
    space.fill(at + 3 * PAGE_SIZE, PAGE_SIZE, 0);
    space.fill(at + 4 * PAGE_SIZE, PAGE_SIZE, 8);
    space.mprotect(at + 8 * PAGE_SIZE, 4 * PAGE_SIZE, '');
    const { segments } = readCore(await coreOf(space));
    const seen = segments.map((each) => [
      (each.start - at) / PAGE_SIZE,
      (each.end - at) / PAGE_SIZE,
      each.stored / PAGE_SIZE,
      each.flags,
      each.offset / PAGE_SIZE,
    ]);
    expect(seen).toEqual([
      [0, 2, 0, 6, 1],
      [2, 5, 3, 6, 1],
      [5, 8, 0, 6, 4],
      [8, 12, 0, 0, 4],
      [12, 16, 0, 6, 4],
    ]);
    await machine.close();
  });

  it('stores what two mappings of one file in memory show, in both places', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const file = machine.createFile({ path: '/memfd:x', memoryBacked: { size: 8 * PAGE_SIZE } });
    const request = {
      length: 8 * PAGE_SIZE,
      prot: 'rw',
      file: file.id,
      flags: ['shared'],
    } as const;
    const [a, b] = [space.mmap(request), space.mmap(request)];
    space.fill(a + PAGE_SIZE, 3 * PAGE_SIZE, 5);
    const bytes = await coreOf(space);
    const core = readCore(bytes);
    for (const at of [a, b]) expect(pageOf(bytes, core, at + PAGE_SIZE)?.[9]).toBe(5);
    expect(await checkPages(space, bytes, core)).toBe(6);
    await machine.close();
  });

  it('holds one of a family, with the pages that it shares', async () => {
    const machine = createMachine({ memory: 16 * MiB });
    const space = machine.createAddressSpace();
    const at = space.mmap({ length: MiB, prot: 'rw', flags: ['private', 'anonymous'] });
    space.fill(at, 20 * PAGE_SIZE, 3);
    const child = space.fork();
    child.fill(at, PAGE_SIZE, 4);
    const both = dumper.dump([space, child], { format: 'elf', to: memorySink() });
    await expect(both).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: 'format: a core file holds one address space, and there are 2: dump one of them',
    });
    const bytes = await coreOf(child);
    expect(await checkPages(child, bytes, readCore(bytes))).toBe(20);
    await machine.close();
  });

  it('of an empty address space has notes only', async () => {
    const machine = createMachine({ memory: 4 * MiB });
    const core = readCore(await coreOf(machine.createAddressSpace()));
    expect(core.segments).toEqual([]);
    expect(core.notes.readUInt32LE(8)).toBe(1); // NT_PRSTATUS, with registers of zero
    await machine.close();
  });

  it('keeps the notes that the mm has, with the vector and the files of now', async () => {
    const machine = createMachine({ memory: 4 * MiB });
    const space = machine.createAddressSpace();
    const unknown = note({ owner: 'GDB', type: 0xff00_0000, payload: Buffer.from('abc') });
    const thread = note(threadNote(9, [1n, 2n, 3n], 11));
    space.setNotes(Buffer.concat([thread, unknown, Buffer.alloc(4)]));
    space.setAuxv(Buffer.alloc(32, 1));
    const { notes } = readCore(await coreOf(space));
    expect(notes.subarray(0, thread.length).equals(thread)).toBe(true);
    expect(notes.includes(unknown)).toBe(true);
    expect(notes.includes(note({ owner: 'CORE', type: 6, payload: Buffer.alloc(32, 1) }))).toBe(
      true,
    );
    space.setNotes(Buffer.alloc(13, 1));
    const broken = dumper.dump(space, { format: 'elf', to: memorySink() });
    await expect(broken).rejects.toMatchObject({ code: 'IMAGE_CORRUPT' });
    await machine.close();
  });

  it('may have more than 65 534 segments', async () => {
    const machine = createMachine({ memory: 32 * MiB });
    const space = machine.createAddressSpace();
    const flags = ['private', 'anonymous', 'fixed'] as const;
    const base = 0x5000_0000_0000;
    for (let vma = 0; vma < 2000; vma++) {
      const address = base + vma * 16 * PAGE_SIZE;
      space.mmap({ address, length: 3 * PAGE_SIZE, prot: 'rw', flags });
      space.fill(address + PAGE_SIZE, 8, vma & 0xff || 1);
    }
    for (let vma = 2000; vma < 62_000; vma++) {
      const address = base + vma * 16 * PAGE_SIZE;
      space.mmap({ address, length: PAGE_SIZE, prot: 'rw', flags });
    }
    const bytes = await coreOf(space);
    expect(bytes.readUInt16LE(56)).toBe(0xffff);
    const core = readCore(bytes);
    expect(core.segments.length).toBe(2000 * 3 + 60_000);
    const path = freshPath();
    await dumper.dump(space, { format: 'elf', to: fileSink(path) });
    const { mm } = await dumper.importCore((memory) => createMachine({ memory }), path);
    expect(mm.vmas().length).toBe(62_000);
    const page = Buffer.alloc(PAGE_SIZE);
    mm.read(base + 1999 * 16 * PAGE_SIZE + PAGE_SIZE, page);
    expect(page[0]).toBe(1999 & 0xff);
    await machine.close();
  });
});

describe('the way from an image to a core and back', () => {
  it('keeps every page', async () => {
    const { space, machine } = await createWorkload('mixed', { size: 4 * MiB, seed: 9 });
    const first = memorySink();
    await dumper.dump(space, { to: first });
    const path = freshPath();
    await dumper.dump(space, { format: 'elf', to: fileSink(path) });
    const back = await dumper.importCore((memory) => createMachine({ memory }), path, {
      load: 'on-demand',
    });
    const second = memorySink();
    await dumper.dump(back.mm, { to: second });
    await back.release();
    const [before, after] = [await openImage(first.image), await openImage(second.image)];
    const [a, b] = [Buffer.alloc(PAGE_SIZE), Buffer.alloc(PAGE_SIZE)];
    let known = 0;
    for (const { start, end } of before.mms()[0]!.vmas) {
      for (let at = start; at < end; at += PAGE_SIZE) {
        const outcomes = await Promise.all(
          [before.read(at, a), after.read(at, b)].map((read) =>
            read.then(
              () => '',
              (e) => e.code,
            ),
          ),
        );
        if (outcomes[0] !== '') {
          expect(outcomes[0]).toBe('PAGE_ABSENT');
          continue;
        }
        known++;
        expect(outcomes[1]).toBe('');
        expect(a.equals(b), at.toString(16)).toBe(true);
      }
    }
    expect(known).toBeGreaterThan(500);
    await before.close();
    await after.close();
    await machine.close();
  });
});
