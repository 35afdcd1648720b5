/** Reading images: random access, verification, comparison. */

import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  MiB,
  memorySink,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory, smallSpace } from '../support/images/images.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

describe('an image', () => {
  it('is read at random: every page as the mm shows it', async () => {
    const { space } = await createWorkload('mixed', { size: 4 * MiB });
    const image = await openImage(inMemory(await imageOf(dumper, space)));
    const [stored, shown] = [new Uint8Array(PAGE_SIZE), new Uint8Array(PAGE_SIZE)];
    let compared = 0;
    for (const vma of image.vmas()) {
      for (let at = vma.start; at < vma.end; at += PAGE_SIZE) {
        const { kind } = image.page(at);
        const isKnown = kind !== 'absent' || vma.file === null || vma.file.isMemoryBacked;
        if (!isKnown || (vma.flags & 0x4000) !== 0 || (vma.flags & 7) === 0) continue;
        await image.read(at, stored);
        space.read(at, shown);
        if (Buffer.compare(stored, shown) !== 0) throw new Error(`page 0x${at.toString(16)}`);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(1000);
  });

  it('reads across pages and says which page it does not hold', async () => {
    const space = smallSpace();
    const image = await openImage(inMemory(await imageOf(dumper, space)));
    const [file, anon] = image.vmas();
    const bytes = new Uint8Array(3);
    await image.read(anon!.start + 3 * PAGE_SIZE + 99, bytes);
    expect([...bytes]).toEqual([0, 1, 2]);
    await image.read(anon!.start + 2 * PAGE_SIZE - 1, bytes);
    expect([...bytes]).toEqual([0, 0, 0]);
    expect(image.page(anon!.start + 4 * PAGE_SIZE)).toMatchObject({ kind: 'absent', offset: null });
    expect(image.page(anon!.start)).toMatchObject({ kind: 'copy', offset: expect.any(Number) });
    expect(image.page(anon!.start + PAGE_SIZE)).toMatchObject({ kind: 'zero' });
    expect(image.page(4096)).toEqual({ kind: 'unmapped', vma: null, offset: null });
    const at = file!.start + PAGE_SIZE;
    await expect(image.read(at, bytes)).rejects.toMatchObject({ code: 'PAGE_ABSENT' });
    await expect(image.read(at, bytes)).rejects.toThrow('/lib/small');
    await expect(image.read(2 ** 47, bytes)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
    await expect(image.ldt()).resolves.toHaveLength(16);
    await expect(image.auxv()).resolves.toEqual(new Uint8Array(16).fill(1));
    expect((await image.notes()).subarray(0, 21)).toEqual(new Uint8Array(21).fill(2));
  });

  it('is verified by any number of workers, whole or with blocks of a page', async () => {
    const { space } = await createWorkload('mixed', { size: 4 * MiB });
    for (const blocks of ['run', 'page'] as const) {
      const sink = memorySink({ chunkBytes: 65536 });
      const report = await dumper.dump(space, { to: sink, blocks });
      const result = await dumper.verify(sink.image);
      const { copy, zero } = report.mms[0]!.pages;
      expect(result).toMatchObject({ ok: true, id: report.image.id, pages: copy + zero });
      expect((await openImage(sink.image)).id).toBe(report.image.id);
    }
  });

  it('does not know what a VM_HUGETLB mapping held that was left out', async () => {
    const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 1 });
    const space = machine.createAddressSpace();
    const at = space.mmap({ ...ANON, length: 2 * PAGE_SIZE });
    space.fill(at, PAGE_SIZE, 7);
    const slot = space.mm.vmas.lookup(at / PAGE_SIZE);
    const fields = space.mm.vmas.fields(slot);
    const HUGETLB = 0x400000;
    space.munmap(at, 2 * PAGE_SIZE);
    space.insertMappings([{ ...fields, flags: fields.flags | HUGETLB }]);
    space.fill(at, PAGE_SIZE, 7);
    const sink = memorySink();
    await expect(dumper.dump(space, { to: sink })).rejects.toMatchObject({
      code: 'HUGETLB_REFUSED',
    });
    const { skipped } = await dumper.dump(space, { to: sink, hugetlb: 'skip' });
    const end = at + 2 * PAGE_SIZE;
    expect(skipped).toEqual([
      { mm: 0, start: at, end, reason: expect.stringContaining('HUGETLB') },
    ]);
    const image = await openImage(sink.image);
    const byte = new Uint8Array(1);
    await expect(image.read(at, byte)).rejects.toMatchObject({ code: 'PAGE_ABSENT' });
    await dumper.dump(space, { to: sink, hugetlb: 'copy' });
    await (await openImage(sink.image)).read(at, byte);
    expect([...byte]).toEqual([7]);
  });
});

describe('a comparison', () => {
  it('names the first page and byte that differ', async () => {
    const one = smallSpace();
    const two = smallSpace();
    expect(await dumper.compare(one, two)).toMatchObject({ equal: true });
    const at = one.vmas()[1]!.start + 3 * PAGE_SIZE + 101;
    two.write(at, new Uint8Array([77]));
    two.write(at + PAGE_SIZE, new Uint8Array([77]));
    expect(await dumper.compare(one, two)).toMatchObject({
      equal: false,
      difference: { address: at },
    });
  });

  it('sees what was never touched and what was written with zeros as equal', async () => {
    const one = smallSpace();
    const two = smallSpace();
    two.fill(two.vmas()[1]!.start + 5 * PAGE_SIZE, PAGE_SIZE, 0);
    expect(await dumper.compare(one, two)).toMatchObject({ equal: true });
  });

  it('sees a mapping, a protection or an LDT entry that differs', async () => {
    const changes: ((space: AddressSpace) => void)[] = [
      (space) => space.mmap({ ...ANON, length: PAGE_SIZE, prot: 'r' }),
      (space) => space.mprotect(space.vmas()[1]!.start, PAGE_SIZE, 'r'),
      (space) => space.modifyLdt({ entryNumber: 0, baseAddr: 1, limit: 1 }),
      (space) => space.munmap(space.vmas()[0]!.start, PAGE_SIZE),
    ];
    for (const change of changes) {
      const two = smallSpace();
      change(two);
      expect((await dumper.compare(smallSpace(), two)).equal).toBe(false);
    }
  });
});
