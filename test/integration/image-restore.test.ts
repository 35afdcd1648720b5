/** The way from an image back into a machine. */

import {
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  MiB,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { imageOf, inMemory, smallSpace } from '../support/images/images.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

describe('a restore', () => {
  it.each(['dense', 'sparse', 'manymaps', 'mixed'] as const)(
    'of %s is equal to the original, and dumps to the same bytes',
    async (name) => {
      const size = { dense: 8 * MiB, sparse: 2 ** 40, manymaps: 4 * MiB, mixed: 16 * MiB }[name];
      const { space, machine } = await createWorkload(name, { size });
      const original = await imageOf(dumper, space);
      const target = createMachine({ memory: 48 * MiB, maxAddressSpaces: 2, checks: true });
      for (const path of ['/usr/bin/mixed']) {
        const file = machine.lookupFile(path);
        if (file === undefined) continue;
        const content = new Uint8Array(file.size);
        const at = space.mmap({ prot: 'r', flags: ['private'], file: file.id, length: file.size });
        space.read(at, content);
        space.munmap(at, file.size);
        target.createFile({ path, content });
      }
      const image = await openImage(inMemory(original));
      const { mms } = await dumper.restore(image, target);
      expect(await dumper.compare(space, mms[0]!)).toMatchObject({ equal: true, difference: null });
      expect((await imageOf(dumper, mms[0]!)).equals(original)).toBe(true);
    },
  );

  it('keeps zeros that were written over a file, and the file beside them', async () => {
    const content = new Uint8Array(3 * PAGE_SIZE).fill(5);
    const original = createMachine({ memory: 2 * MiB });
    const space = original.createAddressSpace();
    const { id } = original.createFile({ path: '/lib/five', content });
    const at = space.mmap({ prot: 'rw', flags: ['private'], file: id, length: 3 * PAGE_SIZE });
    space.fill(at + PAGE_SIZE, PAGE_SIZE, 0);
    const image = await openImage(inMemory(await imageOf(dumper, space)));
    const target = createMachine({ memory: 2 * MiB });
    target.createFile({ path: '/lib/five', content });
    const { mms } = await dumper.restore(image, target);
    const bytes = new Uint8Array(3 * PAGE_SIZE);
    mms[0]!.read(at, bytes);
    const values = [0, 1, 2].map((page) => [
      ...new Set(bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)),
    ]);
    expect(values).toEqual([[5], [0], [5]]);
  });

  it('is SIGBUS with the reason, never zeros, where a file is missing', async () => {
    const image = await openImage(inMemory(await imageOf(dumper, smallSpace())));
    const { mms } = await dumper.restore(image, createMachine({ memory: 4 * MiB }));
    const at = image.vmas()[0]!.start + PAGE_SIZE;
    expect(() => mms[0]!.read(at, new Uint8Array(1))).toThrow(
      expect.objectContaining({ code: 'SIGBUS', message: expect.stringContaining('/lib/small') }),
    );
  });

  it('says ENOMEM when the machine is too small, and gives everything back', async () => {
    const image = await openImage(
      inMemory(await imageOf(dumper, (await createWorkload('dense', { size: 8 * MiB })).space)),
    );
    const machine = createMachine({ memory: 4 * MiB });
    const { free } = machine.memory;
    await expect(dumper.restore(image, machine)).rejects.toMatchObject({ code: 'ENOMEM' });
    expect(machine.memory.free).toBe(free);
  });
});
