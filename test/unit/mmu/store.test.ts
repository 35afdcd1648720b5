/** What a machine keeps in its store, and what it frees when files and mms are gone. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { codeOf, freeFrames, readBytes, testMachine } from '../../support/machine/machine.ts';

const ANON_SHARED = { length: PAGE_SIZE, prot: 'rw', flags: ['shared', 'anonymous'] } as const;

/** Runs `use`, and expects the store to be as before. */
function expectGivenBack(machine: Machine, use: () => void): void {
  const { free, total } = machine.store;
  expect(free).toBeGreaterThan(0);
  expect(free).toBeLessThanOrEqual(total);
  use();
  expect(machine.store).toEqual({ total, free });
  machine.parts.store.check(machine.parts.thread);
}

describe('trial 7: the store gives back what is gone', () => {
  it('path and content of a file without name, open object and mapping, for ever', () => {
    const machine = testMachine({ store: 2 * MiB });
    const content = new Uint8Array(MiB).fill(1);
    expectGivenBack(machine, () => {
      for (let round = 0; round < 64 * 3; round++) {
        const file = machine.createFile({ path: `/tmp/${round}`, content });
        file.unlink();
        file.close();
      }
    });
  });

  it('while one mapping is left, the bytes stay', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    expectGivenBack(machine, () => {
      const content = new Uint8Array(PAGE_SIZE).fill(5);
      using file = machine.createFile({ path: '/f', content, deleted: true });
      const at = space.mmap({ length: PAGE_SIZE, prot: 'r', flags: ['shared'], file: file.id });
      file.close();
      expect(readBytes(space, at, PAGE_SIZE)).toEqual(content);
      space.munmap(at, PAGE_SIZE);
    });
  });

  it('10 000 shared anonymous mappings at once need no room', () => {
    const machine = testMachine({ store: PAGE_SIZE, memory: 64 * MiB });
    const space = machine.createAddressSpace();
    expectGivenBack(machine, () => {
      const first = 0x1000_0000;
      for (let count = 0; count < 10_000; count++) {
        space.mmap({ ...ANON_SHARED, address: first + count * PAGE_SIZE });
      }
      const vmas = space.vmas();
      expect(vmas).toHaveLength(10_000);
      expect(vmas.every(({ file }) => file === '/dev/zero (deleted)')).toBe(true);
      space.munmap(first, 10_000 * PAGE_SIZE);
      expect(space.vmas()).toHaveLength(0);
    });
  });

  it('more files than there are records, one after the other', () => {
    const machine = testMachine({ store: PAGE_SIZE });
    expectGivenBack(machine, () => {
      for (let count = 0; count < 70_000; count++) {
        machine.createFile({ path: '/memfd:x', memoryBacked: { size: 1 }, deleted: true }).close();
      }
    });
    expect(machine.parts.files.highWater).toBeLessThan(10);
  });

  it('auxiliary vectors and notes that are replaced, and those of mms that have exited', () => {
    const machine = testMachine({ store: PAGE_SIZE });
    const bytes = (value: number): Uint8Array => new Uint8Array(1000).fill(value);
    expectGivenBack(machine, () => {
      for (let round = 0; round < 20; round++) {
        const space = machine.createAddressSpace();
        for (let value = 0; value < 5; value++) space.setAuxv(bytes(value));
        space.setNotes(bytes(9));
        const child = space.fork();
        space.setAuxv(bytes(7)); // the child keeps what it shared
        space.exit();
        expect([child.auxv(), child.notes()]).toEqual([bytes(4), bytes(9)]);
        child.setNotes(new Uint8Array());
        child.exit();
      }
    });
  });

  it('what did not fit has changed nothing', () => {
    const machine = testMachine({ store: PAGE_SIZE });
    const space = machine.createAddressSpace();
    space.setAuxv(new Uint8Array(2000).fill(1));
    expectGivenBack(machine, () => {
      const large = new Uint8Array(3000);
      expect(codeOf(() => space.setAuxv(large))).toBe('ENOSPC');
      expect(codeOf(() => machine.createFile({ path: '/f', content: large }))).toBe('ENOSPC');
      expect(codeOf(() => machine.createFile({ path: large.fill(47), content: large }))).toBe(
        'ENOSPC',
      );
    });
    expect(space.auxv()).toEqual(new Uint8Array(2000).fill(1));
  });
});

describe('fault 6: the nodes of a page cache', () => {
  it('are given back with their last page, while the file lives', () => {
    const machine = testMachine({ store: 2 * MiB });
    const space = machine.createAddressSpace();
    const size = 5 * 1024 ** 3; // needs a cache tree of three levels
    const file = machine.createFile({ path: '/f', content: new Uint8Array(9 * PAGE_SIZE) });
    const before = freeFrames(machine);
    const at = space.mmap({ length: 9 * PAGE_SIZE, prot: 'r', flags: ['shared'], file: file.id });
    for (let page = 0; page < 9; page++) readBytes(space, at + page * PAGE_SIZE, 1);
    space.munmap(at, 9 * PAGE_SIZE);
    machine.reclaim(MiB);
    expect(freeFrames(machine)).toBe(before);
    const sparse = join(mkdtempSync(join(tmpdir(), 'mmdump-sparse-')), 'f');
    writeFileSync(sparse, '');
    truncateSync(sparse, size);
    const large = machine.hostFile(sparse);
    for (const offset of [0, 2 ** 23, size - PAGE_SIZE]) {
      const request = { length: PAGE_SIZE, prot: 'r', flags: ['shared'], offset } as const;
      const one = space.mmap({ ...request, file: large.id });
      readBytes(space, one, 1);
      space.munmap(one, PAGE_SIZE);
    }
    expect(freeFrames(machine)).toBe(before - 3 - 6); // pages, and nodes: 3 leaves, 2 above, a root
    machine.reclaim(MiB);
    expect(machine.parts.files.cacheRoot(large.id)).toBe(0);
    expect(freeFrames(machine)).toBe(before);
    machine.detach();
    rmSync(dirname(sparse), { recursive: true });
  });
});

describe('fault 12: what is taken before something fails is given back', () => {
  it('the reference of a mapping that cannot be inserted', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const { id } = machine.createFile({ path: '/f', content: new Uint8Array(1) });
    const { files } = machine.parts;
    const vma = { start: 100, end: 102, flags: 0, file: id, pgoff: 0, anonVma: 0, kind: 0 };
    space.insertMappings([vma]);
    const before = files.references(id);
    expect(codeOf(() => space.insertMappings([{ ...vma, start: 101, end: 103 }]))).toBe('EINVAL');
    expect(files.references(id)).toBe(before);
  });

  it('a fixed mapping of a file over the only mapping that keeps it', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const file = machine.createFile({ path: '/f', content: new Uint8Array(1), deleted: true });
    const request = { length: PAGE_SIZE, prot: 'r', flags: ['shared'], file: file.id } as const;
    const address = space.mmap(request);
    file.close();
    space.mmap({ ...request, flags: ['shared', 'fixed'], address });
    expect(machine.parts.files.references(file.id)).toBe(1);
    space.munmap(address, PAGE_SIZE);
    expect(machine.parts.files.references(file.id)).toBe(0);
  });

  it('a device mapping that finds no frame for its tables', () => {
    const machine = testMachine({ deviceMemory: 4 * PAGE_SIZE, memory: MiB });
    const space = machine.createAddressSpace();
    const other = machine.createAddressSpace();
    const length = machine.memory.free;
    const at = other.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
    expect(codeOf(() => other.fill(at, length, 1))).toBe('ENOMEM');
    expect(codeOf(() => space.mapDevice({ length: PAGE_SIZE, prot: 'r' }))).toBe('ENOMEM');
    expect(space.vmas()).toHaveLength(0);
  });
});
