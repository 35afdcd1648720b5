/**
 * The life of files: names, open objects, mappings, and the index of paths.
 *
 * Invariants checked: a file exists as long as one of the three does · a second close has no
 * effect, use of a closed object is EBADF · a path leads to the living file that was created last ·
 * a lookup of a path does not become slower with the number of files: it reads few records
 */
import { describe, expect, it } from 'vitest';
import { FILE_KIND } from '../../../src/mmu/files/file-record.ts';
import { FILES_MAX, FileTable, fileTableWords } from '../../../src/mmu/files/file-table.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { codeOf, freeFrames, readBytes, testMachine } from '../../support/machine/machine.ts';

const CONTENT = new Uint8Array(3 * PAGE_SIZE).fill(8);

function create(machine: Machine, path = '/f') {
  return machine.createFile({ path, content: CONTENT });
}

describe('fault 5: every object of a file has a reference of its own', () => {
  it('a found one that is closed takes nothing from the one that created the file', () => {
    const machine = testMachine();
    const file = machine.createFile({ path: '/f', content: CONTENT });
    const found = machine.lookupFile('/f')!;
    expect(found.id).toBe(file.id);
    file.unlink();
    found.close();
    found.close();
    expect(file.size).toBe(CONTENT.length);
    expect(machine.lookupFile('/f')).toBeUndefined();
    const again = create(machine);
    expect(again.id).not.toBe(file.id);
    file.close();
    expect(machine.parts.files.exists(file.id)).toBe(false);
  });

  it('a living file outlives its objects: its name keeps it, and leads to it again', () => {
    const machine = testMachine();
    const { free } = machine.store;
    const { id } = create(machine);
    create(machine, '/g').close();
    expect(machine.lookupFile('/f')!.id).toBe(id);
    const found = machine.lookupFile(Buffer.from('/g'))!;
    found.unlink();
    found.unlink(); // has no effect: the name is already gone
    found.close();
    expect(machine.lookupFile('/g')).toBeUndefined();
    expect(machine.store.free).toBeLessThan(free); // of /f
  });

  it('a closed object says so, whatever it is asked', () => {
    const machine = testMachine();
    const file = create(machine);
    file.close();
    for (const use of [
      () => file.path,
      () => file.size,
      () => file.isDeleted,
      () => file.isMemoryBacked,
      () => file.unlink(),
    ]) {
      expect(codeOf(use)).toBe('EBADF');
    }
    expect(codeOf(() => file.close())).toBe('nothing');
  });

  it('a closed object rejects as well, and closes once in either form', async () => {
    const machine = testMachine();
    const file = create(machine);
    const other = machine.lookupFile('/f')!;
    file.unlink();
    const closing = [file.closeAsync(), file.closeAsync()];
    file.close();
    await Promise.all(closing);
    await expect(file.unlinkAsync()).rejects.toMatchObject({ code: 'EBADF' });
    expect(other.isDeleted).toBe(true);
    expect(machine.parts.files.references(other.id)).toBe(1);
  });

  it('using gives it back, in either form', async () => {
    const machine = testMachine();
    const { free } = machine.store;
    {
      using file = machine.createFile({ path: '/f', content: CONTENT, deleted: true });
      expect(file.isDeleted).toBe(true);
    }
    {
      await using file = machine.createFile({ path: '/f', content: CONTENT, deleted: true });
      expect(file.isDeleted).toBe(true);
    }
    expect(machine.store.free).toBe(free);
  });

  it('a file of the host goes with its last object and mapping', () => {
    const machine = testMachine();
    const frames = freeFrames(machine);
    const space = machine.createAddressSpace();
    const file = machine.hostFile('package.json');
    const { id } = file;
    const at = space.mmap({ length: PAGE_SIZE, prot: 'r', flags: ['private'], file: id });
    readBytes(space, at, 1);
    file.close();
    const found = machine.lookupFile('package.json')!;
    expect(found.id).toBe(id);
    expect(machine.parts.files.references(id)).toBe(2);
    machine.lookupFile('package.json')!.close();
    space.munmap(at, PAGE_SIZE);
    found.close();
    expect(machine.parts.files.exists(id)).toBe(false);
    expect(machine.lookupFile('package.json')).toBeUndefined();
    space.exit();
    expect(freeFrames(machine)).toBe(frames);
    machine.detach();
  });
});

describe('fault 12: a path leads to its file at once', () => {
  it('the living one that was created last', () => {
    const machine = testMachine();
    const first = create(machine);
    const second = create(machine);
    expect(machine.lookupFile('/f')!.id).toBe(second.id);
    second.unlink();
    expect(machine.lookupFile('/f')!.id).toBe(first.id);
    first.unlink();
    expect(machine.lookupFile('/f')).toBeUndefined();
    expect(machine.lookupFile('/ff')).toBeUndefined();
  });

  it('with as many files as there can be, by looking at few records', () => {
    const machine = testMachine({ store: 8 * MiB });
    const pathOf = (file: number): string => `/usr/lib/x86_64-linux-gnu/file-${file}.so`;
    const ids: number[] = [];
    for (let file = 0; file < FILES_MAX; file++) {
      ids.push(machine.createFile({ path: pathOf(file), memoryBacked: { size: 1 } }).id);
    }
    expect(codeOf(() => create(machine))).toBe('EMFILE');
    const { parts } = machine;
    let looks = 0;
    const counting = new (class extends FileTable {
      override path(id: number): Uint8Array {
        looks++;
        return super.path(id);
      }
    })(parts.files.words, 0, FILES_MAX, parts.store, parts.threads, false);
    for (let file = 0; file < FILES_MAX; file += 64) {
      expect(counting.open(Buffer.from(pathOf(file)), parts.thread)).toBe(ids[file]);
    }
    expect(looks).toBeLessThan((FILES_MAX / 64) * 4);
  });

  it('also when all of them have one path and go in any order', () => {
    const machine = testMachine();
    const files = Array.from({ length: 2000 }, () => create1(machine));
    for (let at = 0; at < files.length; at += 2) files[at]!.unlink();
    expect(machine.lookupFile('/one')!.id).toBe(files.at(-1)!.id);
    for (let at = files.length - 1; at >= 0; at -= 2) files[at]!.unlink();
    expect(machine.lookupFile('/one')).toBeUndefined();
    for (const file of files) file.close();
    const words = machine.parts.files.words.subarray(0, fileTableWords(FILES_MAX));
    expect(words.subarray(16 + FILES_MAX * 16).every((bucket) => bucket === 0)).toBe(true);
  });
});

function create1(machine: Machine) {
  return machine.createFile({ path: '/one', memoryBacked: { size: 1 } });
}

describe('kinds of files', () => {
  it('say who holds the name', () => {
    const machine = testMachine();
    const { files } = machine.parts;
    const named = create(machine);
    expect([files.kind(named.id), files.references(named.id)]).toEqual([FILE_KIND.NAMED, 2]);
    named.unlink();
    expect(files.kind(named.id) & FILE_KIND.DELETED).not.toBe(0);
    expect(files.references(named.id)).toBe(1);
  });
});
