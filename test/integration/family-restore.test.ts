/**
 * Restored families: pages that clones share are shared frames again, a memory-backed file is one
 * file again in all mms, and what one mm writes to private memory is not seen by another.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  type Machine,
  MiB,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANON, imageOf, inMemory } from '../support/images/images.ts';
import {
  createFamily,
  FAMILY_PAGES,
  FILE_PATH,
  familyFile,
  type Kind,
} from '../support/machine/family-model.ts';
import { assertTablesTrue, leaves } from '../support/machine/invariants.ts';
import { ZERO_PAGE } from '../support/machine/zero-page.ts';

let dumper: Dumper;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(() => dumper.close());

/** The invariants read the words of a machine, so they take a machine of either build. */
function assertTrue(machine: Machine): void {
  assertTablesTrue(machine as never);
}

function pfnAt(machine: Machine, space: AddressSpace, address: number): number {
  const found = leaves(machine as never, space as never);
  return found.find(({ vpn }) => vpn === address / PAGE_SIZE)?.pfn ?? -1;
}

async function restored(
  spaces: readonly AddressSpace[],
  target: Machine,
): Promise<{ readonly mms: readonly AddressSpace[]; readonly bytes: Buffer }> {
  const bytes = await imageOf(dumper, spaces);
  const image = await openImage(inMemory(bytes));
  const { mms } = await dumper.restore(image, target);
  return { mms, bytes };
}

const KINDS: readonly Kind[] = ['private', 'private file', 'shared'];

describe('a restored family', () => {
  it.each([
    [0, 1, 2],
    [2, 0, 1],
  ])(
    'shows what the original shows, and dumps to the same bytes: mms %i, %i, %i',
    async (...order) => {
      const { spaces, starts, expected } = createFamily();
      const originals = order.map((mm) => spaces[mm]!);
      const target = createMachine({
        memory: 16 * MiB,
        maxAddressSpaces: 3,
        checks: true,
        zeroPage: ZERO_PAGE,
      });
      target.createFile({ path: FILE_PATH, content: familyFile() });
      const { mms, bytes } = await restored(originals, target);
      assertTrue(target);
      for (const [mm, space] of mms.entries()) {
        const compared = await dumper.compare(originals[mm]!, space);
        expect(compared).toMatchObject({ equal: true, difference: null });
      }
      expect((await imageOf(dumper, mms)).equals(bytes)).toBe(true);
      for (const kind of KINDS) {
        for (let page = 0; page < FAMILY_PAGES; page++) {
          for (const [mm, each] of expected(order, kind, page).entries()) {
            const found = new Uint8Array(1);
            mms[mm]!.read(starts[kind] + page * PAGE_SIZE + 77, found);
            expect(found[0], `${kind} page ${page} of mm ${mm}`).toBe(each.value);
          }
        }
      }
      assertTrue(target);
    },
  );

  it('keeps to itself what one writes to private memory, and shares what is shared', async () => {
    const { spaces, starts, expected } = createFamily();
    for (let writer = 0; writer < 3; writer++) {
      const target = createMachine({
        memory: 16 * MiB,
        maxAddressSpaces: 3,
        checks: true,
        zeroPage: ZERO_PAGE,
      });
      target.createFile({ path: FILE_PATH, content: familyFile() });
      const { mms } = await restored(spaces, target);
      const length = FAMILY_PAGES * PAGE_SIZE;
      for (const kind of KINDS) mms[writer]!.fill(starts[kind], length, 250 + writer);
      assertTrue(target);
      for (const kind of KINDS) {
        for (const [mm, space] of mms.entries()) {
          const found = new Uint8Array(length);
          space.read(starts[kind], found);
          for (let page = 0; page < FAMILY_PAGES; page++) {
            const before = expected([0, 1, 2], kind, page)[mm]!.value;
            const isNew = kind === 'shared' || mm === writer;
            expect(found[page * PAGE_SIZE], `${kind} page ${page} of mm ${mm}`).toBe(
              isNew ? 250 + writer : before,
            );
          }
        }
      }
      for (const space of mms) space.exit();
      assertTrue(target);
    }
  });

  it('has one frame for a page of three, read-only in all of them', async () => {
    const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 3, zeroPage: ZERO_PAGE });
    const parent = machine.createAddressSpace();
    const start = parent.mmap({ ...ANON, length: 4 * PAGE_SIZE });
    parent.fill(start, 4 * PAGE_SIZE, 5);
    const spaces = [parent, parent.fork(), parent.fork()];
    spaces[2]!.mprotect(start + PAGE_SIZE, PAGE_SIZE, '');
    spaces[1]!.fill(start + 3 * PAGE_SIZE, PAGE_SIZE, 6);
    const target = createMachine({
      memory: 8 * MiB,
      maxAddressSpaces: 3,
      checks: true,
      zeroPage: ZERO_PAGE,
    });
    const { mms } = await restored(spaces, target);
    const { pages } = target.parts;
    for (const [page, users] of [3, 3, 3, 2].entries()) {
      const pfn = pfnAt(target, mms[0]!, start + page * PAGE_SIZE);
      expect(pfnAt(target, mms[2]!, start + page * PAGE_SIZE)).toBe(pfn);
      expect([pages.references(pfn), pages.mapCount(pfn)]).toEqual([users, users]);
    }
    const all = mms.flatMap((space) => leaves(target as never, space as never));
    const shared = all.filter(({ pfn }) => pages.references(pfn) > 1);
    expect(shared).toHaveLength(11);
    expect(shared.filter(({ low }) => (low & 2) !== 0)).toEqual([]);
    // The last mm that maps the frame may write in place.
    const pfn = pfnAt(target, mms[1]!, start);
    mms[0]!.exit();
    mms[2]!.exit();
    mms[1]!.fill(start, PAGE_SIZE, 9);
    expect(pfnAt(target, mms[1]!, start)).toBe(pfn);
    assertTrue(target);
  });

  it('takes swapped pages, mappings that one side has split, and huge pages', async () => {
    const machine = createMachine({
      memory: 24 * MiB,
      maxAddressSpaces: 2,
      swap: MiB,
      zeroPage: ZERO_PAGE,
    });
    const parent = machine.createAddressSpace();
    const small = parent.mmap({ ...ANON, length: 8 * PAGE_SIZE });
    parent.fill(small, 8 * PAGE_SIZE, 1);
    parent.madvise(small, 4 * PAGE_SIZE, 'pageout');
    const huge = parent.mmap({ ...ANON, address: 0x4000_0000, length: 4 * MiB });
    parent.madvise(huge, 4 * MiB, 'hugepage');
    parent.fill(huge, 4 * MiB, 2);
    const child = parent.fork();
    parent.mprotect(small + 2 * PAGE_SIZE, PAGE_SIZE, 'r');
    child.mprotect(small + 5 * PAGE_SIZE, PAGE_SIZE, 'r');
    child.fill(huge + MiB, PAGE_SIZE, 3); // splits one of the huge pages
    const target = createMachine({
      memory: 24 * MiB,
      maxAddressSpaces: 2,
      checks: true,
      zeroPage: ZERO_PAGE,
    });
    const { mms, bytes } = await restored([parent, child], target);
    assertTrue(target);
    expect((await imageOf(dumper, mms)).equals(bytes)).toBe(true);
    const image = await openImage(inMemory(bytes));
    const clones = image.vmas({ mm: 1 }).reduce((sum, { pages }) => sum + pages.clone, 0);
    expect(clones).toBe(8 + 1023);
    const used = target.memory.total - target.memory.free;
    expect(used).toBeLessThan((8 + 1024 + 1 + 64) * PAGE_SIZE);
  });

  it('has memory-backed files once, wherever they are mapped, and whoever owned their pages', async () => {
    const machine = createMachine({ memory: 8 * MiB, maxAddressSpaces: 2, zeroPage: ZERO_PAGE });
    const { id: file } = machine.createFile({
      path: '/memfd:both',
      memoryBacked: { size: 8 * PAGE_SIZE },
      deleted: true,
    });
    const [one, two] = [machine.createAddressSpace(), machine.createAddressSpace()];
    const length = 4 * PAGE_SIZE;
    const low = one.mmap({ prot: 'rw', flags: ['shared'], file, length });
    const high = two.mmap({ prot: 'rw', flags: ['shared'], file, length, offset: 2 * PAGE_SIZE });
    const copy = two.mmap({ prot: 'rw', flags: ['private'], file, length });
    one.fill(low, length, 1);
    two.fill(high, length, 2);
    two.fill(copy, PAGE_SIZE, 3);
    const target = createMachine({
      memory: 8 * MiB,
      maxAddressSpaces: 2,
      checks: true,
      zeroPage: ZERO_PAGE,
    });
    const { mms } = await restored([one, two], target);
    const [a, b] = mms as [AddressSpace, AddressSpace];
    for (const [mm, original] of [one, two].entries()) {
      expect(await dumper.compare(original, mms[mm]!)).toMatchObject({ equal: true });
    }
    a.fill(low + 3 * PAGE_SIZE, PAGE_SIZE, 8);
    b.fill(high + 3 * PAGE_SIZE, PAGE_SIZE, 9);
    const at = (space: AddressSpace, address: number): number => {
      const found = new Uint8Array(1);
      space.read(address, found);
      return found[0]!;
    };
    expect(at(b, high + PAGE_SIZE)).toBe(8);
    expect([0, 1, 2, 3].map((page) => at(b, copy + page * PAGE_SIZE))).toEqual([3, 1, 2, 8]);
    assertTrue(target);
  });
});
