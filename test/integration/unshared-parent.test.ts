/**
 * Invariants checked: an image of memory that is not shared has in its parent what an image of the
 * same pages in shared memory has there, byte for byte: for one worker and for several, with and
 * without a counting pass, frozen and running, with and without the test for zeros
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createDumper,
  createMachine,
  type Dumper,
  type DumpOptions,
  fileSink,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../support/images/images.ts';

const LENGTH = 10 * MiB;

function guestOf(bank: SharedArrayBuffer | ArrayBuffer) {
  const bytes = new Uint8Array(bank);
  for (let at = 0; at < LENGTH; at += PAGE_SIZE) {
    if ((at / PAGE_SIZE) % 5 !== 3) bytes.fill((at / PAGE_SIZE) % 251, at, at + PAGE_SIZE);
  }
  const machine = createMachine({ memory: 4 * MiB, banks: [bank] });
  const space = machine.createAddressSpace();
  const half = LENGTH / 2; // the halves are mapped the other way round
  space.mapFrames({ offset: half, length: half, prot: 'rw', address: 0x7000_0000 });
  space.mapFrames({ offset: 0, length: half, prot: 'rw', address: 0x7000_0000 + half });
  return { bytes, machine, space };
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-unshared-parent-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const WAYS: readonly Partial<DumpOptions>[] = [
  {},
  { freeze: false },
  { zeroPages: 'copy', checksum: 'none', blocks: 'page' },
];

/** Images of the guest before and after a change, the later ones with the first as their parent. */
async function imagesOf(dumper: Dumper, { bytes, space }: ReturnType<typeof guestOf>) {
  const first = memorySink();
  await dumper.dump(space, { to: first });
  const parent = await openImage(first.image);
  for (let page = 7; page < LENGTH / PAGE_SIZE; page += 97) bytes[page * PAGE_SIZE + 9]! ^= 0x55;
  const found: Buffer[] = [];
  for (const way of WAYS) {
    const to = memorySink();
    await dumper.dump(space, { ...way, to, parent }); // counts first
    const path = join(folder, 'child.cpt');
    await dumper.dump(space, { ...way, to: fileSink(path, { force: true }), parent });
    const file = readFileSync(path);
    expect(bytesOf(to.image).equals(file)).toBe(true);
    found.push(file);
  }
  const { mms } = await dumper.dump(space, { to: memorySink(), parent });
  await parent.close();
  return { found, pages: mms[0]!.pages };
}

describe('unshared memory with a parent image', () => {
  it.each([1, 3])('makes the image that shared memory makes: %i workers', async (workers) => {
    const dumper = await createDumper({ workers });
    try {
      const shared = await imagesOf(dumper, guestOf(new SharedArrayBuffer(LENGTH)));
      const unshared = await imagesOf(dumper, guestOf(new ArrayBuffer(LENGTH)));
      expect(unshared.pages).toEqual(shared.pages);
      expect(shared.pages.copy).toBe(Math.ceil((LENGTH / PAGE_SIZE - 7) / 97));
      unshared.found.forEach((image, way) => {
        expect(image.equals(shared.found[way]!), `way ${way}`).toBe(true);
      });
    } finally {
      await dumper.close();
    }
  });
});
