import { describe, expect, it } from 'vitest';
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import { ZERO_PAGE_PFN } from '../../../src/mmu/physical/page-struct.ts';
import { walk } from '../../../src/mmu/tables/page-table.ts';
import { pfnOf } from '../../../src/mmu/tables/pte.ts';
import { GRANULE_SIZE, MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import {
  codeOf,
  freeFrames,
  pageOf,
  readBytes,
  testMachine,
} from '../../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'] } as const;

/** Frame behind an address; 0 if none is mapped. */
function frameAt(space: AddressSpace, address: number): number {
  const { mm } = space;
  const found = walk(mm, mm.pgd, address / PAGE_SIZE, mm.cursor);
  if (found !== 'table' && found !== 'huge') return 0;
  const { words, at } = mm.cursor;
  return words[at] === 0 ? 0 : pfnOf(words[at]!, words[at + 1]!);
}

describe('anonymous memory', () => {
  it('shows the zero page when it is read, and a frame of its own when it is written', () => {
    const machine = testMachine({ zeroPage: true });
    const space = machine.createAddressSpace();
    const at = space.mmap({ ...ANON, length: 2 * PAGE_SIZE });
    expect(readBytes(space, at, PAGE_SIZE)).toEqual(pageOf(0));
    expect(frameAt(space, at)).toBe(ZERO_PAGE_PFN);
    space.write(at + 100, new Uint8Array([1, 2, 3]));
    const pfn = frameAt(space, at);
    expect(pfn).not.toBe(ZERO_PAGE_PFN);
    expect(machine.parts.pages.references(pfn)).toBe(1);
    expect(machine.parts.pages.mapCount(pfn)).toBe(1);
    expect([...readBytes(space, at + 99, 5)]).toEqual([0, 1, 2, 3, 0]);
    expect(machine.parts.memory.page(ZERO_PAGE_PFN)).toEqual(pageOf(0));
  });

  it('hands a used frame out as zeros again', () => {
    const space = testMachine().createAddressSpace();
    const at = space.mmap({ ...ANON, length: 64 * PAGE_SIZE });
    space.fill(at, 64 * PAGE_SIZE, 0xff);
    space.munmap(at, 64 * PAGE_SIZE);
    const again = space.mmap({ ...ANON, length: 64 * PAGE_SIZE });
    space.write(again + 8, new Uint8Array([1]));
    expect(readBytes(space, again, 8)).toEqual(new Uint8Array(8));
  });

  it('crosses pages, granules and banks in one store', () => {
    const space = testMachine().createAddressSpace();
    const at = space.mmap({ ...ANON, length: 4 * MiB });
    const bytes = new Uint8Array(3 * PAGE_SIZE).map((_, index) => index % 251);
    const middle = Math.ceil(at / GRANULE_SIZE) * GRANULE_SIZE + GRANULE_SIZE - PAGE_SIZE - 5;
    space.write(middle, bytes);
    expect(readBytes(space, middle, bytes.length)).toEqual(bytes);
  });

  it('says ENOMEM when no frame is left, and goes on when there is one again', () => {
    const machine = testMachine({ memory: MiB });
    const space = machine.createAddressSpace();
    const at = space.mmap({ ...ANON, length: 2 * MiB });
    expect(codeOf(() => space.fill(at, 2 * MiB, 1))).toBe('ENOMEM');
    space.munmap(at, MiB);
    expect(codeOf(() => space.fill(at + MiB, PAGE_SIZE, 1))).toBe('nothing');
  });

  it('names address and reason of a bad access', () => {
    const space = testMachine().createAddressSpace();
    const at = space.mmap({ ...ANON, prot: 'r', length: PAGE_SIZE });
    expect(() => space.write(at, pageOf(1))).toThrow(
      expect.objectContaining({
        code: 'SIGSEGV',
        fields: expect.objectContaining({ address: at }),
      }),
    );
    expect(codeOf(() => readBytes(space, 0x1000, 1))).toBe('SIGSEGV');
    expect(codeOf(() => readBytes(space, 2 ** 47, 1))).toBe('SIGSEGV');
    expect(codeOf(() => readBytes(space, Number.NaN, 1))).toBe('EINVAL'); // not an address
  });
});

describe('files', () => {
  const content = new Uint8Array(2 * PAGE_SIZE + 100).map((_, index) => (index % 255) + 1);

  it('shows the content, and zeros behind the end of the last page', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const { id } = machine.createFile({ path: '/lib/a', content });
    const at = space.mmap({ prot: 'r', flags: ['private'], file: id, length: 3 * PAGE_SIZE });
    const all = readBytes(space, at, 3 * PAGE_SIZE);
    expect(all.subarray(0, content.length)).toEqual(content);
    expect(all.subarray(content.length)).toEqual(new Uint8Array(PAGE_SIZE - 100));
  });

  it('is SIGBUS beyond the end', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const { id } = machine.createFile({ path: '/lib/a', content });
    const at = space.mmap({ prot: 'r', flags: ['private'], file: id, length: 8 * PAGE_SIZE });
    expect(codeOf(() => readBytes(space, at + 3 * PAGE_SIZE, 1))).toBe('SIGBUS');
  });

  it('copies a private page on write; the file and other mappings keep theirs', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const { id } = machine.createFile({ path: '/lib/a', content });
    const map = { prot: 'rw', flags: ['private'], file: id, length: PAGE_SIZE } as const;
    const one = space.mmap(map);
    const two = space.mmap({ ...map, prot: 'r' });
    readBytes(space, one, 1);
    readBytes(space, two, 1);
    expect(frameAt(space, one)).toBe(frameAt(space, two));
    space.write(one, new Uint8Array([0]));
    expect(readBytes(space, one, 2)).toEqual(new Uint8Array([0, content[1]!]));
    expect(readBytes(space, two, 2)).toEqual(content.slice(0, 2));
  });

  it('shares written pages of a shared mapping, and frees them with the last one', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const before = freeFrames(machine);
    const file = machine.createFile({ path: '/memfd:x', memoryBacked: { size: 4 * PAGE_SIZE } });
    const map = { prot: 'rw', flags: ['shared'], file: file.id, length: 4 * PAGE_SIZE } as const;
    const one = space.mmap(map);
    const two = space.mmap(map);
    space.write(one + PAGE_SIZE, pageOf(3));
    expect(readBytes(space, two + PAGE_SIZE, PAGE_SIZE)).toEqual(pageOf(3));
    space.munmap(one, 4 * PAGE_SIZE);
    expect(readBytes(space, two + PAGE_SIZE, 1)[0]).toBe(3);
    space.munmap(two, 4 * PAGE_SIZE);
    file.unlink();
    file.close();
    expect(freeFrames(machine)).toBe(before);
  });

  it('reads a host file when somebody looks, and is SIGBUS with the reason when it is gone', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const file = machine.hostFile('package.json');
    const at = space.mmap({ prot: 'r', flags: ['private'], file: file.id, length: PAGE_SIZE });
    expect(Buffer.from(readBytes(space, at, 20)).toString()).toContain('mmdump');
    expect(codeOf(() => machine.hostFile('/no/such/file'))).toBe('ENOENT');
    machine.detach();
  });
});

describe('huge leaves', () => {
  it('map 2 MiB at the first write under MADV_HUGEPAGE, and split where they must', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const before = freeFrames(machine);
    const at = space.mmap({ ...ANON, length: 8 * MiB });
    const inside = Math.ceil(at / GRANULE_SIZE) * GRANULE_SIZE;
    space.madvise(at, 8 * MiB, 'hugepage');
    space.write(inside + 5 * PAGE_SIZE, pageOf(4));
    expect(walk(space.mm, space.mm.pgd, inside / PAGE_SIZE, space.mm.cursor)).toBe('huge');
    const pfn = frameAt(space, inside);
    expect(pfn % 512).toBe(0);
    space.mprotect(inside + 5 * PAGE_SIZE, PAGE_SIZE, 'r');
    expect(walk(space.mm, space.mm.pgd, inside / PAGE_SIZE, space.mm.cursor)).toBe('table');
    expect(frameAt(space, inside + 5 * PAGE_SIZE)).toBe(pfn + 5);
    expect(readBytes(space, inside + 5 * PAGE_SIZE, PAGE_SIZE)).toEqual(pageOf(4));
    expect(machine.parts.pages.mapCount(pfn + 5)).toBe(1);
    space.write(inside, pageOf(1));
    space.munmap(at, 8 * MiB);
    expect(freeFrames(machine)).toBe(before);
  });

  it('are taken whole by munmap and stay writable after mprotect', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap({ ...ANON, length: 6 * MiB });
    const inside = Math.ceil(at / GRANULE_SIZE) * GRANULE_SIZE;
    space.madvise(at, 6 * MiB, 'hugepage');
    const before = freeFrames(machine);
    space.write(inside, pageOf(1));
    space.mprotect(at, 6 * MiB, 'r');
    expect(codeOf(() => space.write(inside, pageOf(2)))).toBe('SIGSEGV');
    space.mprotect(at, 6 * MiB, 'rw');
    space.write(inside + MiB, pageOf(2));
    expect(walk(space.mm, space.mm.pgd, inside / PAGE_SIZE, space.mm.cursor)).toBe('huge');
    space.munmap(at, 6 * MiB);
    expect(freeFrames(machine)).toBeGreaterThanOrEqual(before);
  });
});

describe('device memory', () => {
  it('is shown by mappings and never freed', () => {
    const machine = testMachine({ deviceMemory: 4 * PAGE_SIZE });
    const space = machine.createAddressSpace();
    const before = freeFrames(machine);
    const at = space.mapDevice({ length: 2 * PAGE_SIZE, offset: PAGE_SIZE, prot: 'rw' });
    space.write(at, pageOf(8));
    const other = space.mapDevice({ length: PAGE_SIZE, offset: PAGE_SIZE, prot: 'r', io: false });
    expect(readBytes(space, other, 1)[0]).toBe(8);
    space.munmap(at, 2 * PAGE_SIZE);
    space.munmap(other, PAGE_SIZE);
    expect(freeFrames(machine)).toBe(before);
    expect(codeOf(() => space.mapDevice({ length: 5 * PAGE_SIZE, prot: 'r' }))).toBe('EINVAL');
  });
});

describe('destroying an address space', () => {
  it('gives everything back and leaves dead references behind', () => {
    const machine = testMachine();
    const before = freeFrames(machine);
    const space = machine.createAddressSpace();
    space.fill(space.mmap({ ...ANON, length: 5 * MiB }), 5 * MiB, 1);
    machine.destroyAddressSpace(space);
    expect(freeFrames(machine)).toBe(before);
    expect(codeOf(() => space.vmas())).toBe('MM_GONE');
    const next = machine.createAddressSpace();
    expect(codeOf(() => space.vmas())).toBe('MM_GONE');
    expect(next.vmas()).toEqual([]);
  });
});
