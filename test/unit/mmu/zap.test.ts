/** Removes pages while other threads, under the same read lock, change the tables. */
import { describe, expect, it } from 'vitest';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { mmOf } from '../../../src/mmu/mm/mm.ts';
import { walk } from '../../../src/mmu/tables/page-table.ts';
import { splitHuge } from '../../../src/mmu/tables/split-huge.ts';
import { MiB, PAGE_SIZE, vpnOf } from '../../../src/shared/page.ts';
import { RANK } from '../../../src/shared/sync/held-locks.ts';
import { freeFrames, readBytes, testMachine } from '../../support/machine/machine.ts';

describe('madvise(DONTNEED) of a huge page', () => {
  it('removes all of it when another thread splits the leaf in the middle', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap({
      address: 0x4000_0000,
      length: 2 * MiB,
      prot: 'rw',
      flags: ['private', 'anonymous', 'fixed'],
    });
    space.madvise(at, 2 * MiB, 'hugepage');
    space.fill(at, 2 * MiB, 7);
    const before = freeFrames(machine);
    const { parts } = attach(machine.handle);
    const theirs = mmOf(parts, 0, parts.thread);
    const { threads } = machine.parts;
    const assertOrder = threads.assertOrder.bind(threads);
    let splits = 0;
    // Runs between the walk, which found the huge leaf, and the lock of its table.
    threads.assertOrder = (id, rank) => {
      if (rank === RANK.PAGE_TABLE && splits === 0) {
        expect(walk(theirs, theirs.pgd, vpnOf(at), theirs.cursor)).toBe('huge');
        splits++;
        parts.gate.tryEnter(parts.thread);
        splitHuge(theirs, theirs.cursor);
        parts.gate.leave(parts.thread);
      }
      assertOrder(id, rank);
    };
    space.madvise(at, 2 * MiB, 'dontneed');
    threads.assertOrder = assertOrder;
    expect(splits).toBe(1);
    expect(walk(theirs, theirs.pgd, vpnOf(at), theirs.cursor)).toBe('table');
    expect(freeFrames(machine)).toBe(before + 512 - 1); // the leaf table is new
    for (let page = 0; page < 512; page++) {
      expect(readBytes(space, at + page * PAGE_SIZE, 1)[0]).toBe(0);
    }
  });
});
