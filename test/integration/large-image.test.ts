/**
 * Images larger than 4 GiB. Invariants checked: every page is where it belongs, on both sides of 4
 * GiB, in a file and in memory · such an image verifies, and its length is that of the estimate.
 *
 * Nearly all of the image is the huge zero page, stored as it is. That takes hardly any simulated
 * memory, and hardly any of the disk, since a file sink leaves holes.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  fileSink,
  GiB,
  type MemoryImage,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const LENGTH = 4 * GiB + 64 * MiB;
const HUGE = 2 * MiB;
const isLong = process.env.MMDUMP_LONG !== undefined;

let folder: string;
let dumper: Dumper;
let space: AddressSpace;
let start: number;
/** Maps the address of a page to the byte that fills it. */
const marked = new Map<number, number>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-large-'));
  dumper = await createDumper({ workers: 2 });
  const machine = createMachine({ memory: 64 * MiB, maxAddressSpaces: 1 });
  space = machine.createAddressSpace();
  start = 0x1000_0000_0000;
  const flags = ['private', 'anonymous', 'fixed', 'noreserve'] as const;
  space.mmap({ address: start, length: LENGTH, prot: 'rw', flags });
  space.madvise(start, LENGTH, 'hugepage');
  const byte = new Uint8Array(1);
  for (let at = start; at < start + LENGTH; at += HUGE) space.read(at, byte);
  // Pages lie a few KiB further on in the image than in the mapping: one falls on the border
  // itself.
  const around = [-HUGE, -24 * PAGE_SIZE, -PAGE_SIZE, 0, PAGE_SIZE, 48 * MiB].map(
    (at) => 4 * GiB + at,
  );
  space.madvise(start, LENGTH, 'nohugepage'); // small pages from now on
  for (const [index, offset] of [0, 2 * GiB, ...around, LENGTH - PAGE_SIZE].entries()) {
    space.fill(start + offset, PAGE_SIZE, index + 1);
    marked.set(start + offset, index + 1);
  }
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

async function checkPages(from: string | MemoryImage): Promise<void> {
  const image = await openImage(from);
  try {
    const bytes = new Uint8Array(PAGE_SIZE);
    const offsets: number[] = [];
    for (const [address, value] of marked) {
      await image.read(address, bytes);
      expect(
        bytes.every((byte) => byte === value),
        address.toString(16),
      ).toBe(true);
      offsets.push(image.page(address).offset!);
      const next = address + 2 * PAGE_SIZE;
      if (marked.has(next) || next >= start + LENGTH) continue;
      await image.read(next, bytes);
      expect(
        bytes.every((byte) => byte === 0),
        next.toString(16),
      ).toBe(true);
    }
    expect(Math.min(...offsets)).toBeLessThan(4 * GiB);
    expect(Math.max(...offsets)).toBeGreaterThan(4 * GiB);
    expect(offsets.some((offset) => Math.abs(offset - 4 * GiB) < HUGE)).toBe(true);
  } finally {
    await image.close();
  }
}

describe('an image beyond 4 GiB', () => {
  it('in a file', async () => {
    const path = join(folder, 'large.cpt');
    // Checksums over 4 GiB take seconds, and are computed twice.
    const options = { zeroPages: 'copy', checksum: isLong ? 'crc32' : 'none' } as const;
    const { bytes } = (await dumper.estimate(space, options)).image;
    const report = await dumper.dump(space, { ...options, to: fileSink(path) });
    expect(report.image.bytes).toBe(bytes);
    expect(report.mms[0]!.pages.copy).toBe(LENGTH / PAGE_SIZE);
    expect(statSync(path).size).toBe(bytes);
    await checkPages(path);
    expect(await dumper.verify(path)).toMatchObject({ ok: true, bytes });
  });

  it('is read in one call into a buffer beyond 2 GiB', async (context) => {
    if (!isLong) context.skip('only in the long mode: it takes 2.1 GiB of memory');
    if (freemem() < 4 * GiB) context.skip('there is not enough memory');
    const path = join(folder, 'one-call.cpt');
    await dumper.dump(space, { zeroPages: 'copy', to: fileSink(path) });
    const image = await openImage(path);
    const into = new Uint8Array(2 * GiB + 64 * MiB).fill(0xa5);
    // Neither the buffer nor the range starts at a block, and the last page is read only in part.
    await image.read(start + 100, into.subarray(100, into.length - 100));
    await image.close();
    expect(into.subarray(0, 100).every((byte) => byte === 0xa5)).toBe(true);
    expect(into.subarray(-100).every((byte) => byte === 0xa5)).toBe(true);
    let page = 0;
    for (let at = PAGE_SIZE; at < into.length - PAGE_SIZE; at += PAGE_SIZE) {
      const value = marked.get(start + at) ?? 0;
      if (into[at] !== value || into[at + PAGE_SIZE - 1] !== value) page = at;
    }
    expect(page).toBe(0);
  });

  it('in memory', async (context) => {
    if (!isLong) context.skip('only in the long mode: it takes 4 GiB of memory');
    if (freemem() < 6 * GiB) context.skip('there is not enough memory');
    const to = memorySink();
    const report = await dumper.dump(space, { zeroPages: 'copy', to });
    expect(report.image.bytes).toBeGreaterThan(4 * GiB);
    expect(to.image.chunks.length).toBe(3);
    await checkPages(to.image);
    expect(await dumper.verify(to.image)).toMatchObject({ ok: true });
    to.release();
  });
});
